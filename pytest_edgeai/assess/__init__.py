"""Assessing: what can be known of a model before it is optimized.

The pytest process only looks at the files from outside (:func:`digest_model`, :func:`assess`). The bytes are parsed in a worker
(:func:`read_model`), which needs no runtime.
"""

from pathlib import Path
from typing import Final

import msgspec

from pytest_edgeai.assess import files
from pytest_edgeai.errors import WorkerError
from pytest_edgeai.protocols import Task
from pytest_edgeai.records import Assessment, Model

ASSESS_TIMEOUT: Final = 120.0
"""Seconds for reading one model, beside those for its bytes."""
_BYTES_A_SECOND: Final = 50e6
"""That a slow disk reads; weights in files beside the model are read once, for the digest."""


def digest_model(path: Path) -> Model:
    """The model at ``path``, known by its digest; nothing is parsed.

    ``digest`` covers the named file, or the files of the named folder. Weights in external data files of an ONNX file are found only by parsing, so
    they are covered by the digest of the :class:`Assessment`, which equals this one for every other model. Raises ModelError.
    """
    # What has no form that is known is read as ONNX, which says what is wrong with it.
    kind = files.kind_of(path) or "onnx"
    if path.suffix.lower() in files.PICKLES and path.is_file():
        raise files.unknown(path)
    name = path.name if kind == "huggingface" else path.stem
    return Model(
        name=name or path.resolve().name, path=str(path.absolute()), kind=kind, digest=files.digest(path, kind)
    )


def assess(model: Model, task: Task) -> Assessment:
    """The assessment of ``model``, made in a worker process. Raises ModelError or WorkerError."""
    path = Path(model.path)
    patience = ASSESS_TIMEOUT + _bytes_in(path if path.is_dir() else path.parent) / _BYTES_A_SECOND
    answer = task("assess", {"path": model.path}, subject=model.name, timeout=patience)
    try:
        return msgspec.convert(answer, Assessment)
    except msgspec.ValidationError as error:
        raise WorkerError(model.name, "assess", f"it answered nonsense ({error})") from error


def read_model(path: str) -> Assessment:
    """Read the model at ``path``, in a worker. Raises ModelError when it is no valid model, or one that can't be measured here."""
    from pytest_edgeai.assess import language, onnx_file

    kind = files.kind_of(Path(path))
    if kind == "huggingface":
        return language.read_folder(Path(path))
    if kind == "gguf":
        return language.read_gguf(Path(path))
    return onnx_file.read(path)


def _bytes_in(folder: Path) -> int:
    """Of the files in it; 0 where they can't be listed, which doesn't keep the model from being read."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    except OSError:
        return 0
