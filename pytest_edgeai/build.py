"""Building: a recipe and a model become a variant, in a worker; kept in a cache that is addressed by content."""

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import msgspec

from pytest_edgeai import arrays, interrupts, pruning, registry
from pytest_edgeai.errors import BuildError, ModelError
from pytest_edgeai.language.generation import runner_of
from pytest_edgeai.protocols import Framework, Task
from pytest_edgeai.records import SCHEMA, Model, Recipe, Variant, digest_of, digest_of_file

BUILD_TIMEOUT = 1800.0
"""Seconds for one build."""
STALE_AFTER = 24 * 3600.0
"""Seconds after which an unfinished build's folder is nobody's."""
_RECORD = "variant.json"
_SEAL = "variant.sha256"
ARTIFACT = "artifact"
"""Folder of an entry with what was built."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Everything that goes into a variant."""

    recipe: Recipe
    model: Model
    versions: Mapping[str, str]
    """Of the framework's distributions."""
    modules: tuple[str, ...]
    """Plugin modules that the worker loads."""
    sample: Path
    """``.npz`` with at least one item, to prove that the variant runs."""
    calibration: Path | None = None
    """``.npz`` with the calibration items, for recipes that want them."""
    calibration_digest: str = ""
    at_load: frozenset[str] = frozenset()
    """Tuning that changes nothing of the artifact."""
    at_most: float | None = None
    """Seconds that the build may take; ``None``: as long as any."""

    @property
    def seconds(self) -> float:
        """That the build may take."""
        return BUILD_TIMEOUT if self.at_most is None else min(self.at_most, BUILD_TIMEOUT)

    @property
    def built(self) -> Recipe:
        """What the artifact is made by: the recipe without what is heeded when it is loaded."""
        kept = {key: value for key, value in self.recipe.tuning.items() if key not in self.at_load}
        return msgspec.structs.replace(self.recipe, tuning=kept)

    @property
    def key(self) -> str:
        """Digest of all that the artifact is made of."""
        made_of = [SCHEMA, self.model.digest, msgspec.to_builtins(self.built), dict(self.versions)]
        if self.model.kind != "onnx" or self.recipe.sparsity:  # converted or pruned by this package itself
            made_of.append(importlib.metadata.version("pytest-edgeai"))
        return digest_of([*made_of, self.calibration_digest if self.recipe.calibrated else ""])


class Cache:
    """Variants on disk. An entry is visible only when it is whole; what was damaged is set aside and built anew.

    Raises nothing for a folder that can't be written: then ``root`` is a temporary one, and ``say`` is told.
    """

    def __init__(self, root: Path, say: Callable[[str], None], fallback: Path) -> None:
        self._verified: set[str] = set()
        self._say = say
        self.root = root
        try:
            (root / "partial").mkdir(parents=True, exist_ok=True)
            probe = root / "partial" / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            say(f"the cache {root} can't be written ({error.strerror}); this run keeps nothing")
            self.root = fallback
            (self.root / "partial").mkdir(parents=True, exist_ok=True)
        self._sweep()

    def find(self, key: str) -> Variant | None:
        """The variant of this key, verified by digest when it is first used in a run; ``None`` when there is none that is whole."""
        entry = self._entry(key)
        if not entry.is_dir():
            return None
        try:
            record = (entry / _RECORD).read_bytes()
            variant = msgspec.json.decode(record, type=Variant)
            seal = (entry / _SEAL).read_bytes()
        except (OSError, ValueError, msgspec.DecodeError):
            self._set_aside(key, "its record can't be read")
            return None
        variant = msgspec.structs.replace(variant, folder=str(entry / ARTIFACT))
        if key not in self._verified:
            damaged = [name for name, digest in variant.files.items() if not _is(Path(variant.folder) / name, digest)]
            if damaged or variant.key != key or seal != _seal(record):
                self._set_aside(key, f"{', '.join(damaged) or _RECORD} changed on disk")
                return None
            self._verified.add(key)
        return variant

    def proven(self, key: str, recipe: Recipe) -> bool:
        """Whether the entry was loaded as this recipe is tuned, and answered."""
        return self._proof(key, recipe).is_file()

    def prove(self, key: str, recipe: Recipe) -> None:
        """Keep that it was. Raises BuildError."""
        proof = self._proof(key, recipe)
        try:
            proof.parent.mkdir(parents=True, exist_ok=True)
            proof.touch()
        except OSError as error:
            raise self._unwritable(error) from error

    def put(
        self, key: str, partial: Path, recipe: Recipe, model: Model, versions: Mapping[str, str], seconds: float
    ) -> Variant:
        """Publish a finished build by one rename; when somebody was faster, theirs is verified and used. Raises BuildError."""
        try:
            return self._put(key, partial, recipe, model, versions, seconds)
        except OSError as error:
            raise self._unwritable(error) from error

    def _put(
        self, key: str, partial: Path, recipe: Recipe, model: Model, versions: Mapping[str, str], seconds: float
    ) -> Variant:
        artifact = partial / ARTIFACT
        paths = sorted(path for path in artifact.rglob("*") if path.is_file())
        variant = Variant(
            recipe=recipe,
            model_digest=model.digest,
            key=key,
            folder=ARTIFACT,
            files={path.relative_to(artifact).as_posix(): digest_of_file(path) for path in paths},
            bytes=sum(path.stat().st_size for path in paths),
            versions=dict(versions),
            build_seconds=seconds,
        )
        record = msgspec.json.format(msgspec.json.encode(variant)) + b"\n"
        (partial / _RECORD).write_bytes(record)
        (partial / _SEAL).write_bytes(_seal(record))
        for path in [*paths, partial / _RECORD, partial / _SEAL]:
            _to_disk(path)
        entry = self._entry(key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                partial.rename(entry)
            except OSError:
                theirs = self.find(key)  # sets a damaged one aside, so that the second try succeeds
                if theirs is not None:
                    shutil.rmtree(partial, ignore_errors=True)
                    return theirs
            else:
                self._verified.add(key)
                return msgspec.structs.replace(variant, folder=str(entry / ARTIFACT))
        raise BuildError(f"{recipe.name}: the variant can't be put into the cache {self.root}.")

    @contextlib.contextmanager
    def partial(self) -> Iterator[Path]:
        """A fresh folder for a build; what is left of it afterwards is removed."""
        folder = self.root / "partial" / uuid.uuid4().hex
        try:
            try:
                (folder / ARTIFACT).mkdir(parents=True)
            except OSError as error:
                raise self._unwritable(error) from error
            yield folder
        finally:
            with interrupts.held():
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Only one process builds a key at a time: saves work, but nothing depends on it (locks may not work on network drives)."""
        lock = filelock.FileLock(self.root / "locks" / f"{key}.lock")
        try:
            (self.root / "locks").mkdir(exist_ok=True)
            lock.acquire(timeout=BUILD_TIMEOUT)
        except (filelock.Timeout, OSError, NotImplementedError) as error:
            self._say(f"building without the cache's lock ({error})")
        try:
            yield
        finally:
            lock.release()

    def _entry(self, key: str) -> Path:
        return self.root / "variants" / key[:2] / key

    def _proof(self, key: str, recipe: Recipe) -> Path:
        # Not in the entry, which is published whole and changes no more.
        return self.root / "proofs" / key[:2] / f"{key}-{digest_of(msgspec.to_builtins(recipe.tuning))[:16]}"

    def _set_aside(self, key: str, why: str) -> None:
        self._say(f"cache entry {key[:12]}: {why}; set aside, and built anew")
        aside = self.root / "damaged" / f"{key}-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):  # somebody did it already, or putting the new one there will fail and tell
            aside.parent.mkdir(parents=True, exist_ok=True)
            self._entry(key).rename(aside)

    def _unwritable(self, error: OSError) -> BuildError:
        return BuildError(
            f"The cache {self.root} can't be written ({error.strerror or error}). Make room, or choose another with --edge-cache."
        )

    def _sweep(self) -> None:
        """Remove what builds that were killed left behind."""
        for leftover in (self.root / "partial").iterdir():
            with contextlib.suppress(OSError):
                if leftover.is_dir() and time.time() - leftover.stat().st_mtime > STALE_AFTER:
                    shutil.rmtree(leftover)


def build(
    ingredients: Ingredients,
    cache: Cache,
    task: Task,
    lock: Callable[[], AbstractContextManager[None]],
    working: Callable[[str], AbstractContextManager[object]],
) -> tuple[Variant, bool]:
    """The variant, and whether it came from the cache. Raises BuildError or WorkerError.

    Variants that differ in what is heeded when they are loaded share an artifact. Each of them is loaded and called once before it is handed out for
    the first time, as it is tuned.
    """
    recipe = ingredients.recipe
    variant, cached = _artifact(ingredients, cache, task, lock, working)
    if recipe != ingredients.built and not cache.proven(variant.key, recipe):
        with lock(), working(f"loading {recipe.name} of {ingredients.model.name}"):
            task(
                "try",
                {
                    "modules": list(ingredients.modules),
                    "recipe": msgspec.to_builtins(recipe),
                    "folder": variant.folder,
                    "sample": str(ingredients.sample),
                },
                subject=recipe.name,
                timeout=ingredients.seconds,
            )
        cache.prove(variant.key, recipe)
    return msgspec.structs.replace(variant, recipe=recipe), cached


def _artifact(
    ingredients: Ingredients,
    cache: Cache,
    task: Task,
    lock: Callable[[], AbstractContextManager[None]],
    working: Callable[[str], AbstractContextManager[object]],
) -> tuple[Variant, bool]:
    """What the recipe's variant, and those that are only loaded otherwise, have in common."""
    recipe, model = ingredients.built, ingredients.model

    def make(folder: Path) -> None:
        task(
            "build",
            {
                "modules": list(ingredients.modules),
                "recipe": msgspec.to_builtins(recipe),
                "model": model.path,
                "folder": str(folder),
                "sample": str(ingredients.sample),
                "calibration": str(ingredients.calibration) if recipe.calibrated else None,
            },
            subject=ingredients.recipe.name,
            timeout=ingredients.seconds,
        )

    doing = f"building {ingredients.recipe.name} of {model.name}"
    return made(ingredients.key, recipe, model, ingredients.versions, cache, lock, lambda: working(doing), make)


def made(
    key: str,
    recipe: Recipe,
    model: Model,
    versions: Mapping[str, str],
    cache: Cache,
    lock: Callable[[], AbstractContextManager[None]],
    working: Callable[[], AbstractContextManager[object]],
    make: Callable[[Path], None],
) -> tuple[Variant, bool]:
    """The entry of this key, which ``make`` fills a folder for where there is none, and whether it came from the cache. Raises BuildError."""
    found = cache.find(key)
    if found is not None:
        return found, True
    with cache.alone(key), lock():
        found = cache.find(key)  # somebody may have built it while we waited
        if found is not None:
            return found, True
        with working(), cache.partial() as partial:
            begin = time.monotonic()
            make(partial / ARTIFACT)
            return cache.put(key, partial, recipe, model, versions, time.monotonic() - begin), False


def compressed_bytes(variant: Variant) -> int:
    """Of the artifact's files, each deflated as zip archives and app stores do it."""
    total = 0
    for name in variant.files:
        deflate = zlib.compressobj()
        with (Path(variant.folder) / name).open("rb") as stream:
            while part := stream.read(2**20):
                total += len(deflate.compress(part))
        total += len(deflate.flush())
    return total


def build_here(
    modules: list[str], recipe: dict[str, Any], model: str, folder: str, sample: str, calibration: str | None
) -> None:
    """Build in this process (a worker) and prove that the variant answers: loaded, called once, outputs finite."""
    wanted = msgspec.convert(recipe, Recipe)
    framework = registry.load(modules).framework(wanted.framework)
    items = arrays.read_items(Path(calibration)) if calibration else []
    with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
        source = pruning.prune(Path(model), Path(scratch), wanted.sparsity) if wanted.sparsity else Path(model)
        framework.build(wanted, source, Path(folder), items)
    _demand_answers(framework, wanted, Path(folder), Path(sample), "the variant that was built")


def try_here(modules: list[str], recipe: dict[str, Any], folder: str, sample: str) -> None:
    """Load an artifact in this process (a worker) as the recipe is tuned, and prove that it answers."""
    wanted = msgspec.convert(recipe, Recipe)
    framework = registry.load(modules).framework(wanted.framework)
    _demand_answers(framework, wanted, Path(folder), Path(sample), "the variant, loaded as it is tuned,")


def _demand_answers(framework: Framework, recipe: Recipe, folder: Path, sample: Path, what: str) -> None:
    """Raises BuildError where it gives nothing, ModelError where that is no number."""
    item = arrays.read_items(sample)[0]
    outputs = runner_of(framework.load(recipe, folder, threads=1))(item)
    if not outputs:
        raise BuildError(f"{what} gives no outputs")
    name = arrays.not_finite(outputs)
    if name is not None:
        raise ModelError(f"output '{name}' of {what.removesuffix(',')} is not finite (it holds NaN or infinity)")


def _is(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and digest_of_file(path) == digest
    except OSError:
        return False


def _seal(record: bytes) -> bytes:
    return hashlib.sha256(record).hexdigest().encode()


def _to_disk(path: Path) -> None:
    """Without it, a crash of the machine could leave an empty file under a published name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
