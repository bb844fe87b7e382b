"""What the suites share: the sample models that they run on where neither an option nor a marker declares one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"

# The limits of every model are 95 %, twice and half. This one is too small for some of them (AMD EPYC, two cores):
# - speed: a token takes 0.3 to 1 ms, of which reading the weights is a part; with 4 bits engines decode 1.4 to 3.4 times as fast;
# - memory: engines take 15 to 60 MB whatever the weights, which shrink from 21 MB to 6.6 MB: 0.59 to 0.74 of the baseline's;
# - accuracy: of 125 right completions 4 bits lose 2 to 6, so 350 bound what is kept by 0.9; to prove 95 % takes some thousands.
TINY = "speedup=1.3 footprint=0.8 accuracy=0.8 ttft=200ms"


def pytest_edge_models() -> Mapping[str, Any]:
    return {
        "digits": {"path": FIXTURES / "digits/digits.onnx", "dataset": FIXTURES / "digits/digits.npz", "score": "top1"},
        "tiny_lm": {
            "path": FIXTURES / "tiny_lm/tiny-lm",
            "dataset": FIXTURES / "tiny_lm/evaluation.jsonl",
            "limits": TINY,
        },
    }
