"""Memory: the model's own footprint, whatever the process did before, and the process' peak."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_edgeai.metrics.memory import Memory
from pytest_edgeai.protocols import Metric

pytestmark = pytest.mark.skipif(
    Memory().unsupported() is not None, reason="the kernel's high-water mark can't be reset here"
)

MB = 10**6
CHILD = """
import json, mmap, sys
from pytest_edgeai.metrics.memory import Memory

MB = 10**6
memory = Memory()
spike = b"x" * (200 * MB)  # as an import does that unpacks something
del spike
memory.arm()
{body}
print(json.dumps(memory.read(1)))
"""


def read(body: str, *arguments: str) -> dict[str, float]:
    """What the metric reads in a fresh interpreter that does ``body`` between arming and reading."""
    answer = subprocess.run(
        [sys.executable, "-c", CHILD.format(body=body), *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(answer.stdout)


@pytest.mark.parametrize("size", [50, 100])
def test_what_is_loaded_is_the_footprint_whatever_was_freed_before(size: int) -> None:
    found = read(f"model = b'x' * ({size} * MB)")

    assert found["footprint"] == pytest.approx(size * MB, rel=0.03)


def test_the_peak_covers_what_was_freed_before(tmp_path: Path) -> None:
    found = read("model = b'x' * (50 * MB)")

    assert 200 * MB < found["peak"] < 260 * MB


def test_a_spike_while_loading_belongs_to_the_footprint() -> None:
    found = read("spike = b'x' * (80 * MB); del spike; model = b'x' * (20 * MB)")

    assert found["footprint"] == pytest.approx(80 * MB, rel=0.03)


def test_memory_that_is_reserved_and_never_touched_does_not_count() -> None:
    found = read("model = mmap.mmap(-1, 500 * MB)")

    assert found["footprint"] < 5 * MB


def test_pages_of_a_file_that_the_model_touches_count(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"x" * (50 * MB))
    body = "file = open(sys.argv[1], 'rb'); pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); touched = sum(pages[::4096])"

    found = read(body, str(weights))

    assert found["footprint"] == pytest.approx(50 * MB, rel=0.03)


def test_nothing_loaded_is_next_to_nothing() -> None:
    found = read("pass")

    assert 0 <= found["footprint"] < 2 * MB


def test_arming_twice_keeps_the_higher_peak() -> None:
    found = read("memory.arm(); model = b'x' * (50 * MB)")

    assert found["footprint"] == pytest.approx(50 * MB, rel=0.03)
    assert found["peak"] > 200 * MB


def test_it_is_a_metric_that_is_read_once_a_process() -> None:
    metric = Memory()

    assert isinstance(metric, Metric)
    assert (metric.name, metric.units, metric.per) == (
        "memory",
        {"footprint": "bytes", "peak": "bytes"},
        "process",
    )
