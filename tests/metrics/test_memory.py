"""Memory: the model's own footprint, whatever the process did before, with its kinds of pages and its helpers; and the process' peak."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import heavy_engine
import numpy as np
import pytest

from pytest_edgeai import arrays, registry
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.metrics.memory import Memory
from pytest_edgeai.protocols import Metric, Settling, Sparing
from pytest_edgeai.records import Recipe, Variant

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
    assert isinstance(metric, Settling)
    assert isinstance(metric, Sparing)
    assert (metric.name, metric.units, metric.per) == (
        "memory",
        dict.fromkeys(("footprint", "peak", "anonymous", "mapped", "inactive"), "bytes"),
        "process",
    )


# In workers, whose engine has allocated and freed 120 MB when it was imported -------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def ballast() -> bytes:
    """What this process holds while it starts workers: theirs must not count it."""
    return b"x" * (400 * MB)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[str], Bench]:
    """Starts a worker with a runner that holds memory as told (``forked_50``), and measures it."""

    def start(method: str) -> Bench:
        recipe = Recipe(framework="heavy", precision="fp32", method=method)
        arrays.write(tmp_path / "items.npz", {"x": np.zeros((4, 1, 1), np.float32)})
        heavy_engine.Heavy().build(recipe, tmp_path, tmp_path, ())
        known = {"recipe": recipe, "model_digest": "", "key": method, "folder": str(tmp_path)}
        variant = Variant(**known, files={}, bytes=0, versions={}, build_seconds=0)
        setup = Setup(modules=registry.find(["heavy_engine"]).modules, threads=1, inputs=tmp_path / "items.npz")
        with Bench(variant, setup, ("memory",)) as bench:
            return bench

    return start


@pytest.fixture
def measured(bench: Callable[[str], Bench]) -> Callable[[str], dict[str, float]]:
    """What is read in such a worker, in MB."""
    return lambda method: {part: value / MB for part, value in bench(method).readings["memory"].items()}


@pytest.mark.parametrize("size", [50, 100, 200])
def test_what_a_worker_holds_is_told_within_two_percent(measured, size: int) -> None:
    found = measured(f"copied_{size}")

    assert found["footprint"] == pytest.approx(size, rel=0.02)
    assert found["anonymous"] == pytest.approx(size, rel=0.02)
    assert found["mapped"] < 0.02 * size


@pytest.mark.parametrize("way", ["in_pieces", "in_huge_pages", "in_shared_memory"])
def test_it_does_not_matter_where_it_is_allocated(measured, way: str) -> None:
    found = measured(f"{way}_50")

    assert found["footprint"] == pytest.approx(50, rel=0.02)
    assert found["anonymous"] == pytest.approx(50, rel=0.02)


def test_a_spike_is_in_the_footprint_and_not_in_what_stays(measured) -> None:
    found = measured("spiked_100")

    assert found["footprint"] == pytest.approx(150, rel=0.02)
    assert found["anonymous"] == pytest.approx(50, rel=0.02)


def test_what_is_reserved_and_never_touched_counts_nowhere(measured) -> None:
    found = measured("reserved_100")

    assert max(found["footprint"], found["anonymous"], found["mapped"]) < 1


@pytest.mark.parametrize(
    ("way", "footprint", "anonymous", "mapped", "inactive"),
    [("mapped", 50, 0, 50, 0), ("mapped_in_part", 25, 0, 25, 0), ("repacked", 100, 50, 50, 50)],
)
def test_pages_of_a_mapped_file_count_apart_and_those_that_calls_leave_alone_too(
    measured, way: str, footprint: int, anonymous: int, mapped: int, inactive: int
) -> None:
    found = measured(f"{way}_50")

    assert found["footprint"] == pytest.approx(footprint, rel=0.02)
    assert found["anonymous"] == pytest.approx(anonymous, abs=1)
    assert found["mapped"] == pytest.approx(mapped, abs=1)
    assert found["inactive"] == pytest.approx(inactive, abs=1)


@pytest.mark.parametrize("way", ["forked", "executed", "family"])
def test_what_a_grandchild_holds_counts_once(measured, way: str) -> None:
    found = measured(f"{way}_50"), measured(f"{way}_150")

    # A process of its own takes some megabytes, which count, too.
    assert 50 <= found[0]["footprint"] < 55
    assert found[1]["footprint"] - found[0]["footprint"] == pytest.approx(100, rel=0.02)
    assert found[1]["anonymous"] - found[0]["anonymous"] == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("forked_with_spike", "it runs in 2 processes, whose peaks need not have come together: 5"),
        ("ended", "a process that the engine started has ended, and nothing tells what memory it had"),
        ("not_waited_for", "a process that the engine started has ended, and nothing tells what memory it had"),
    ],
)
def test_what_a_grandchild_held_once_makes_it_unsupported_with_the_reason(bench, way: str, why: str) -> None:
    found = bench(f"{way}_50")

    assert "memory" not in found.readings
    assert found.unsupported["memory"].startswith(why)
