"""The cache under kill -9, flipped bytes, cut and missing files, and where it can't be written: never a wrong variant."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from pytest_edgeai.records import Results, Variant

VARIANTS = ("fake-fp32-plain", "fake-fp32-slow_build", "fake-fp32-twice", "onnxruntime-fp32")
SIZES = """
import pytest

@pytest.mark.edge_recipe("fake-fp32-plain", "fake-fp32-twice", "fake-fp32-slow_build")
def test_size(edge_variant):
    assert edge_variant.size <= 10 * 2**20
"""


@pytest.fixture
def model(edge, tmp_path: Path) -> Path:
    """The sample model in a folder of its own, so that a file beside it can tell the fake engine to be quick."""
    return Path(shutil.copy(edge.sample.model, tmp_path / "small.onnx"))


@pytest.fixture
def run(edge, model: Path) -> Callable[[Path], tuple[pytest.RunResult, dict[str, str]]]:
    """Runs gates on the size of three variants with that cache; also says what became of each variant."""
    (model.parent / "hurry").touch()
    edge.write(SIZES, fake=True)

    def run(cache: Path) -> tuple[pytest.RunResult, dict[str, str]]:
        edge.cache = cache
        result = edge.run(f"--edge-model={model}", "--edge-recipe=fake-*")
        results = msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)
        return result, {variant.name: variant.state for variant in results.models[0].variants}

    return run


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the first test that needs it fills."""
    return tmp_path_factory.mktemp("filled") / "cache"


@pytest.fixture
def cache(run: Callable[[Path], tuple[pytest.RunResult, dict[str, str]]], filled: Path, tmp_path: Path) -> Path:
    """A copy of a cache that holds four variants, free to be damaged."""
    if not filled.exists():
        result, states = run(filled)
        result.assert_outcomes(passed=3)
        assert states == dict.fromkeys(VARIANTS, "built")
    return shutil.copytree(filled, tmp_path / "cache")


def entry(cache: Path, name: str) -> Path:
    """The folder of a variant in the cache, known by what its record says."""
    (found,) = (path.parent for path in (cache / "variants").glob("*/*/variant.json") if name.encode() in _names(path))
    return found


def _names(record: Path) -> set[bytes]:
    try:
        return {msgspec.json.decode(record.read_bytes(), type=Variant).name.encode()}
    except msgspec.DecodeError:
        return set()


def whole(cache: Path) -> dict[str, bool]:
    """Variant -> whether every file in the cache is as its record says."""
    found = {}
    for record in (cache / "variants").glob("*/*/variant.json"):
        variant = msgspec.json.decode(record.read_bytes(), type=Variant)
        folder = record.parent / "artifact"
        digests = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
        }
        found[variant.name] = digests == variant.files
    return found


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(data)


def test_an_undamaged_cache_is_used(run, cache: Path) -> None:
    result, states = run(cache)

    result.assert_outcomes(passed=3)
    assert states == dict.fromkeys(VARIANTS, "cached")
    assert "set aside" not in result.stdout.str()


@pytest.mark.parametrize("place", [0, 1234, -1], ids=["first byte", "in the middle", "last byte"])
def test_a_flipped_byte_in_any_file_is_detected_and_its_variant_is_built_anew(run, cache: Path, place: int) -> None:
    flip(entry(cache, "fake-fp32-plain") / "artifact" / "model.onnx", place)
    flip(entry(cache, "fake-fp32-slow_build") / "artifact" / "half.bin", place)
    flip(entry(cache, "onnxruntime-fp32") / "artifact" / "model.onnx", place)

    result, states = run(cache)

    result.assert_outcomes(passed=3)
    assert states == dict.fromkeys(VARIANTS, "built") | {"fake-fp32-twice": "cached"}
    result.stdout.fnmatch_lines_random(
        [
            "edgeai: cache entry *: model.onnx changed on disk; set aside, and built anew",
            "edgeai: cache entry *: half.bin changed on disk; set aside, and built anew",
        ]
    )
    assert whole(cache) == dict.fromkeys(VARIANTS, True)


def test_files_that_are_cut_short_or_gone_are_detected_and_their_variants_are_built_anew(run, cache: Path) -> None:
    record = entry(cache, "fake-fp32-plain") / "variant.json"
    (entry(cache, "fake-fp32-slow_build") / "artifact" / "half.bin").unlink()
    (entry(cache, "fake-fp32-twice") / "artifact" / "model.onnx").write_bytes(b"")
    os.truncate(entry(cache, "onnxruntime-fp32") / "artifact" / "model.onnx", 1000)
    os.truncate(record, 200)

    result, states = run(cache)

    result.assert_outcomes(passed=3)
    assert states == dict.fromkeys(VARIANTS, "built")
    assert result.stdout.str().count("set aside, and built anew") == 4
    assert "its record can't be read" in result.stdout.str()
    assert whole(cache) == dict.fromkeys(VARIANTS, True)


def test_where_the_cache_cannot_be_written_the_run_goes_on_without_it_and_says_so_once(run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    result, states = run(tmp_path / "file" / "cache")

    result.assert_outcomes(passed=3)
    assert states == dict.fromkeys(VARIANTS, "built")
    assert result.stdout.str().count("can't be written") == 1
    result.stdout.fnmatch_lines(
        [f"edgeai: the cache {tmp_path / 'file' / 'cache'} can't be written (Not a directory); this run keeps nothing"]
    )


def test_after_a_kill_in_the_middle_of_a_build_nothing_half_built_is_used(
    edge, model: Path, alive: Callable[[], list[psutil.Process]], tmp_path: Path
) -> None:
    edge.write(SIZES, fake=True)
    edge.cache = tmp_path / "cache"
    arguments = [f"--edge-model={model}", "--edge-recipe=fake-fp32-slow_build"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--edge-target=cross",
        f"--edge-cache={edge.cache}",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=edge.pytester.path, start_new_session=True)
    guard = time.monotonic() + 120
    while not list(edge.cache.glob("partial/*/artifact/half.bin")):
        assert process.poll() is None
        assert time.monotonic() < guard
        time.sleep(0.05)
    (worker,) = alive()

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    gone, left = psutil.wait_procs([worker], timeout=60)
    (model.parent / "hurry").touch()
    result = edge.run(*arguments)

    assert (gone, left) == ([worker], [])
    result.assert_outcomes(passed=1)
    assert "waiting" not in result.stdout.str()
    results = msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)
    assert [variant.state for variant in results.models[0].variants] == ["built", "built"]
    assert (entry(edge.cache, "fake-fp32-slow_build") / "artifact" / "half.bin").read_bytes() == b"both halves"
    assert whole(edge.cache) == {"fake-fp32-slow_build": True, "onnxruntime-fp32": True}
