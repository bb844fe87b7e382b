"""Building and the cache: keys, publishing, races, damage and leftovers; with tasks that are plain functions, without workers."""

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import filelock
import msgspec
import pytest

from pytest_edgeai import build as module
from pytest_edgeai.build import STALE_AFTER, Cache, Ingredients, build
from pytest_edgeai.errors import BuildError, EdgeError, WorkerError
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import Model, Recipe, Variant

PLAIN = Recipe(framework="fake", precision="fp32", method="plain", options={"opset": 17})
CALIBRATED = Recipe(framework="fake", precision="int8", method="static", calibrated=True)
MODEL = Model(name="small", path="/models/small.onnx", kind="onnx", digest="ab" * 32)
INGREDIENTS = Ingredients(
    recipe=PLAIN, model=MODEL, versions={"engine": "1.0", "onnx": "1.19"}, modules=("fake",), sample=Path("sample.npz")
)
LOADED = dataclasses.replace(
    INGREDIENTS, recipe=msgspec.structs.replace(PLAIN, tuning={"threads": 1}), at_load=frozenset({"threads"})
)
"""The same artifact, loaded in another way."""
RECORD = "variant.json"

Task = Callable[..., None]


def writing(content: bytes = b"weights") -> Task:
    """A task that builds an artifact of two files."""

    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        folder = Path(arguments["folder"])
        (folder / "model.bin").write_bytes(content)
        (folder / "more").mkdir()
        (folder / "more" / "tokens.txt").write_bytes(content[::-1])

    return task


def failing(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
    (Path(arguments["folder"]) / "half.bin").write_bytes(b"half")
    raise WorkerError(subject, "build", "killed by SIGSEGV")


def forbidden(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
    raise AssertionError("nothing had to be built")


@dataclasses.dataclass
class Desk:
    """A cache, what it said, and how to build with it."""

    root: Path
    said: list[str]

    def cache(self) -> Cache:
        """As a new run opens it."""
        return Cache(self.root, self.said.append, fallback=self.root.parent / "fallback")

    def build(
        self, task: Task, ingredients: Ingredients = INGREDIENTS, cache: Cache | None = None
    ) -> tuple[Variant, bool]:
        return build(
            ingredients, cache or self.cache(), task, contextlib.nullcontext, Progress(self.said.append).working
        )

    def put(self, task: Task, ingredients: Ingredients = INGREDIENTS) -> Variant:
        """As another process does it, beside whatever this one does."""
        cache = self.cache()
        with cache.partial() as partial:
            task("build", {"folder": str(partial / "artifact")}, subject="", timeout=0)
            return cache.put(ingredients.key, partial, ingredients.recipe, ingredients.model, ingredients.versions, 1.0)

    @property
    def entries(self) -> list[Path]:
        return sorted((self.root / "variants").glob("*/*"))

    @property
    def unfinished(self) -> list[Path]:
        return [path for path in (self.root / "partial").iterdir() if path.is_dir()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "cache", [])


def content(variant: Variant) -> bytes:
    return (Path(variant.folder) / "model.bin").read_bytes()


# Keys ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"model": msgspec.structs.replace(MODEL, digest="cd" * 32)},
        {"recipe": msgspec.structs.replace(PLAIN, options={"opset": 18})},
        {"recipe": msgspec.structs.replace(PLAIN, method="other")},
        {"versions": {"engine": "1.1", "onnx": "1.19"}},
        {"versions": {"engine": "1.0"}},
    ],
    ids=["model", "option", "method", "version", "distributions"],
)
def test_the_key_changes_with_every_ingredient(changed: dict[str, Any]) -> None:
    other = dataclasses.replace(INGREDIENTS, **changed)

    assert other.key != INGREDIENTS.key


@pytest.mark.parametrize(
    "changed",
    [
        {"model": msgspec.structs.replace(MODEL, name="renamed", path="/elsewhere/renamed.onnx")},
        {"versions": {"onnx": "1.19", "engine": "1.0"}},
        {"sample": Path("other.npz")},
        {"modules": ("fake", "another")},
        {"calibration": Path("items.npz"), "calibration_digest": "12" * 32},
    ],
    ids=["place of the model", "order of versions", "sample", "other plugins", "items that are not used"],
)
def test_the_key_is_the_same_for_the_same_content(changed: dict[str, Any]) -> None:
    other = dataclasses.replace(INGREDIENTS, **changed)

    assert other.key == INGREDIENTS.key


def test_the_key_of_a_calibrated_recipe_changes_with_the_calibration_items() -> None:
    one, other = (
        dataclasses.replace(INGREDIENTS, recipe=CALIBRATED, calibration_digest=digest * 32) for digest in ("12", "34")
    )

    assert one.key != other.key


def test_the_key_is_stable_between_releases() -> None:
    # A change here throws every user's cache away: raise SCHEMA, and then this line.
    assert INGREDIENTS.key == "83911e93cf0087bc8dea6fdbe8f7c442cb0c8c7e31f829681126cc53eefb6d64"


def test_what_is_heeded_when_it_is_loaded_is_no_part_of_the_key() -> None:
    batch = dataclasses.replace(LOADED, recipe=msgspec.structs.replace(PLAIN, tuning={"batch": 4, "threads": 1}))

    assert LOADED.key == INGREDIENTS.key
    assert batch.key != INGREDIENTS.key
    assert batch.built.name == "fake-fp32-plain@batch=4"
    assert dataclasses.replace(LOADED, at_load=frozenset()).key != INGREDIENTS.key


# Building and finding --------------------------------------------------------------------------------------------------------


def test_what_was_built_is_found_again_byte_for_byte(desk: Desk) -> None:
    built, was_cached = desk.build(writing(b"some weights"))

    found, is_cached = desk.build(forbidden)

    assert (was_cached, is_cached) == (False, True)
    assert found == built
    assert {name: (Path(found.folder) / name).read_bytes() for name in found.files} == {
        "model.bin": b"some weights",
        "more/tokens.txt": b"sthgiew emos",
    }
    assert found.bytes == 24
    assert found.key == INGREDIENTS.key


def test_a_worker_is_told_where_everything_lies(desk: Desk) -> None:
    told: dict[str, Any] = {}

    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        told.update(arguments, name=name, subject=subject)
        writing()(name, arguments, subject=subject, timeout=timeout)

    desk.build(task, dataclasses.replace(INGREDIENTS, recipe=CALIBRATED, calibration=Path("items.npz")))

    assert told["name"] == "build"
    assert told["subject"] == "fake-int8-static"
    assert (told["model"], told["sample"], told["calibration"]) == (MODEL.path, "sample.npz", "items.npz")
    assert Path(told["folder"]).is_relative_to(desk.root / "partial")


def test_variants_that_are_only_loaded_otherwise_share_an_artifact_and_each_is_tried_once(desk: Desk) -> None:
    asked: list[tuple[str, str, Any]] = []

    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        asked.append((name, subject, arguments["recipe"]["tuning"]))
        if name == "build":
            writing()(name, arguments, subject=subject, timeout=timeout)

    tuned, was_cached = desk.build(task, LOADED)
    plain, is_cached = desk.build(task)
    again, _ = desk.build(task, LOADED)

    assert asked == [
        ("build", "fake-fp32-plain@threads=1", {}),
        ("try", "fake-fp32-plain@threads=1", {"threads": 1}),
    ]
    assert (was_cached, is_cached) == (False, True)
    assert (tuned.folder, tuned.key) == (plain.folder, plain.key)
    assert again == tuned == msgspec.structs.replace(plain, recipe=LOADED.recipe)


def test_a_tuned_variant_that_can_not_be_loaded_fails_alone_and_each_time(desk: Desk) -> None:
    plain, _ = desk.build(writing())

    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        raise EdgeError(f"{subject}: 2 threads are used")

    for _ in range(2):
        with pytest.raises(EdgeError, match="fake-fp32-plain@threads=1: 2 threads are used"):
            desk.build(task, LOADED)

    assert desk.build(forbidden) == (plain, True)


def test_the_hosts_lock_is_held_while_something_is_built_and_not_when_it_is_found(desk: Desk) -> None:
    held: list[bool] = []
    depth: list[None] = []

    @contextlib.contextmanager
    def lock() -> Iterator[None]:
        depth.append(None)
        yield
        depth.pop()

    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        held.append(bool(depth))
        writing()(name, arguments, subject=subject, timeout=timeout)

    build(INGREDIENTS, desk.cache(), task, lock, Progress(desk.said.append).working)
    build(INGREDIENTS, desk.cache(), task, lock, Progress(desk.said.append).working)

    assert held == [True]
    assert depth == []


def test_an_entry_appears_by_one_rename(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        before = target.exists()
        moved = rename(self, target)
        seen.append((before, (target / RECORD).is_file() and (target / "artifact" / "model.bin").is_file()))
        return moved

    monkeypatch.setattr(Path, "rename", watched)
    desk.build(writing())

    assert seen == [(False, True)]
    assert desk.unfinished == []


def test_a_task_that_fails_leaves_nothing(desk: Desk) -> None:
    with pytest.raises(WorkerError, match="killed by SIGSEGV"):
        desk.build(failing)

    assert desk.entries == []
    assert desk.unfinished == []


def test_after_a_failure_the_next_build_succeeds(desk: Desk) -> None:
    with pytest.raises(WorkerError):
        desk.build(failing)

    built, was_cached = desk.build(writing())

    assert not was_cached
    assert set(built.files) == {"model.bin", "more/tokens.txt"}


# Races -----------------------------------------------------------------------------------------------------------------------


def test_who_loses_a_race_uses_the_winners_variant(desk: Desk) -> None:
    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        desk.put(writing(b"theirs"))
        writing(b"ours")(name, arguments, subject=subject, timeout=timeout)

    built, _ = desk.build(task)

    assert content(built) == b"theirs"
    assert len(desk.entries) == 1
    assert desk.unfinished == []


def test_a_winner_that_is_damaged_is_set_aside_and_the_losers_variant_is_used(desk: Desk) -> None:
    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        theirs = desk.put(writing(b"theirs"))
        (Path(theirs.folder) / "model.bin").write_bytes(b"damage")
        writing(b"ours")(name, arguments, subject=subject, timeout=timeout)

    built, _ = desk.build(task)

    assert content(built) == b"ours"
    assert len(desk.entries) == 1
    assert len(list((desk.root / "damaged").iterdir())) == 1
    assert any("model.bin changed on disk; set aside" in text for text in desk.said)


class NoLock:
    """What a lock is on a network drive that has none."""

    def __init__(self, path: Path) -> None:
        pass

    def acquire(self, timeout: float) -> None:
        pass

    def release(self) -> None:
        pass


def build_at_once(root: Path, number: int, locks: bool, start: Barrier, answers: Any) -> None:
    """In a process of its own: builds content that no other builds, and tells what it got."""
    if not locks:
        filelock.FileLock = NoLock  # type: ignore[assignment,misc]
    builds = []

    def task(name: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> None:
        builds.append(number)
        writing(b"%d" % number * 100_000)(name, arguments, subject=subject, timeout=timeout)

    desk = Desk(root, [])
    cache = desk.cache()
    start.wait(timeout=120)
    variant, _ = desk.build(task, cache=cache)
    digest = hashlib.sha256(content(variant)).hexdigest()
    answers.put((len(builds), variant.files["model.bin"], digest, desk.said))


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "where locks do nothing"])
def test_eight_processes_that_build_the_same_at_once_get_one_whole_variant(desk: Desk, locks: bool) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(8), context.Queue()
    processes = [
        context.Process(target=build_at_once, args=(desk.root, number, locks, start, answers)) for number in range(8)
    ]

    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=120)

    (entry,) = desk.entries
    kept = hashlib.sha256((entry / "artifact" / "model.bin").read_bytes()).hexdigest()
    builds = [count for count, _, _, _ in found]
    assert [process.exitcode for process in processes] == [0] * 8
    assert {(promised, real) for _, promised, real, _ in found} == {(kept, kept)}
    assert sum(builds) == 1 if locks else sum(builds) >= 1
    assert desk.unfinished == []
    assert not [
        text for *_, said in found for text in said if "set aside" in text or "without the cache's lock" in text
    ]


# Damage ----------------------------------------------------------------------------------------------------------------------


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.bin", "more/tokens.txt"])
def test_every_flipped_byte_of_an_artifact_is_detected(desk: Desk, name: str) -> None:
    built, _ = desk.build(writing(bytes(range(64))))
    pristine = shutil.copytree(desk.entries[0], desk.root / "pristine")

    detected = []
    for place in range(64):
        flip(Path(built.folder) / name, place)
        detected.append(desk.cache().find(built.key) is None)
        shutil.copytree(pristine, desk.root / "variants" / built.key[:2] / built.key, dirs_exist_ok=True)

    assert detected == [True] * 64


def test_no_flipped_byte_of_a_record_changes_what_is_found(desk: Desk) -> None:
    built, _ = desk.build(writing())
    (entry,) = desk.entries
    pristine = shutil.copytree(entry, desk.root / "pristine")

    found = []
    for place in range((entry / RECORD).stat().st_size):
        flip(entry / RECORD, place)
        found.append(desk.cache().find(built.key))
        shutil.copytree(pristine, entry, dirs_exist_ok=True)

    assert [variant for variant in found if variant not in (None, built)] == []


@pytest.mark.parametrize("lost", [RECORD, "artifact/model.bin", "artifact"])
def test_an_entry_that_lacks_a_part_is_set_aside_and_built_anew(desk: Desk, lost: str) -> None:
    desk.build(writing(b"first"))
    path = desk.entries[0] / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    built, was_cached = desk.build(writing(b"second"))

    assert not was_cached
    assert content(built) == b"second"
    assert len(list((desk.root / "damaged").iterdir())) == 1


def test_an_entry_under_a_wrong_key_is_not_used(desk: Desk) -> None:
    desk.build(writing())
    other = dataclasses.replace(INGREDIENTS, versions={"engine": "2.0"})
    wrong = desk.root / "variants" / other.key[:2] / other.key
    shutil.copytree(desk.entries[0], wrong)

    built, was_cached = desk.build(writing(b"new"), other)

    assert not was_cached
    assert content(built) == b"new"


def test_a_variant_is_verified_once_in_a_run(desk: Desk) -> None:
    built, _ = desk.build(writing())
    cache = desk.cache()
    cache.find(built.key)
    (Path(built.folder) / "model.bin").write_bytes(b"damage")

    again = cache.find(built.key)

    assert again == built
    assert desk.cache().find(built.key) is None


# Folders that can't be written, leftovers ------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_replaced_and_told(desk: Desk) -> None:
    desk.root.parent.mkdir(exist_ok=True)
    desk.root.write_text("a file")

    cache = desk.cache()
    built, _ = desk.build(writing(), cache=cache)

    assert cache.root == desk.root.parent / "fallback"
    assert content(built) == b"weights"
    assert [text for text in desk.said if "can't be written" in text] == [
        f"the cache {desk.root} can't be written (Not a directory); this run keeps nothing"
    ]


def test_a_variant_that_cannot_be_published_is_an_error_that_names_the_cache(desk: Desk) -> None:
    cache = desk.cache()
    (desk.root / "variants").write_text("a file")

    with pytest.raises(
        BuildError,
        match=rf"^The cache {desk.root} can't be written \(.+\)\. Make room, or choose another with --edge-cache\.$",
    ):
        desk.build(writing(), cache=cache)

    assert desk.unfinished == []


def test_leftovers_of_killed_builds_are_swept_when_they_are_old(desk: Desk) -> None:
    desk.cache()
    old, young = desk.root / "partial" / "old", desk.root / "partial" / "young"
    for folder in (old, young):
        (folder / "artifact").mkdir(parents=True)
        (folder / "artifact" / "half.bin").write_bytes(b"half")
    os.utime(old, times=(time.time() - STALE_AFTER - 60,) * 2)

    desk.cache()

    assert desk.unfinished == [young]


def test_without_a_lock_a_build_goes_on_and_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(NoLock):
        def acquire(self, timeout: float) -> None:
            raise NotImplementedError("no locks on this drive")

    monkeypatch.setattr(module.filelock, "FileLock", Refused)

    built, _ = desk.build(writing())

    assert content(built) == b"weights"
    assert "building without the cache's lock (no locks on this drive)" in desk.said
