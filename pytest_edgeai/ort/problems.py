"""Problems: what ONNX Runtime and ONNX say when they fail, in one sentence."""

import re
from typing import Final

from pytest_edgeai.errors import EdgeError, UnsupportedError

_LACKS: Final = re.compile(
    r"(\S+?)\(-?\d+\) is not a registered function/op|Could not find an implementation for (\S+?)\("
)


def problem(error: Exception, kind: type[EdgeError], doing: str, engine: str = "ONNX Runtime") -> EdgeError:
    """The error to raise: an operator that the engine lacks is no failure of ours."""
    lacking = _LACKS.search(str(error))
    if lacking is None:
        return kind(f"{engine} can't {doing}: {said(error)}.")
    return UnsupportedError(
        f"ONNX Runtime lacks an operator of this model: {lacking[1] or lacking[2]}. Export the model without it, or choose a recipe of another framework."
    )


def said(error: BaseException) -> str:
    """What an exception says, in one line, without the preambles of ONNX Runtime and ONNX."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |^\S+\.h:\d+: .*? failed: ", "", " ".join(str(error).split()))
    return text[:400].rstrip(".") or type(error).__name__
