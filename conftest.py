"""What the suites share: the sample models that they run on where neither an option nor a marker declares one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"


def pytest_edge_models() -> Mapping[str, Any]:
    return {
        "digits": {"path": FIXTURES / "digits/digits.onnx", "dataset": FIXTURES / "digits/digits.npz", "score": "top1"},
        "tiny_lm": {"path": FIXTURES / "tiny_lm/model", "dataset": FIXTURES / "tiny_lm/evaluation.jsonl"},
    }
