"""Conversion: a model that PyTorch has becomes an ONNX file, in a worker, and is kept in the cache like anything that is made of a model.

The pytest process imports no PyTorch and reads no model: it looks at files from outside, and asks a worker (:mod:`pytest_edgeai.conversion.onnx_export`).
"""

import functools
import importlib.metadata
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import filelock
import msgspec

from pytest_edgeai.assess import files
from pytest_edgeai.build import ARTIFACT, BUILD_TIMEOUT, Cache, made
from pytest_edgeai.distributions import installed
from pytest_edgeai.errors import EdgeError, UnsupportedError
from pytest_edgeai.protocols import Task
from pytest_edgeai.records import SCHEMA, Conversion, Model, Origin, Recipe, Variant, digest_of, digest_of_file

FILE: Final = "model.onnx"
RECORD: Final = "conversion.json"
RECIPE: Final = Recipe(framework="torch", precision="onnx")
DISTRIBUTIONS: Final[Mapping[Origin, tuple[str, ...]]] = {
    "program": ("torch", "onnxscript", "onnx"),
    "function": ("torch", "onnxscript", "onnx"),
    "transformers": ("torch", "onnxscript", "onnx", "transformers", "safetensors"),
}
"""What it takes. Their versions are in the file's key; that of ONNX Runtime isn't, for it changes nothing of the file."""
RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")
"""The distributions that ONNX Runtime comes in, which the conversion is checked with; one of them."""


class Workshop:
    """Converts models of one run.

    ``folder``: of the run, which its processes share; ``lock``: held while something is built; ``say``: told what a conversion takes away.
    """

    def __init__(
        self,
        cache: Cache,
        folder: Path,
        task: Task,
        lock: Callable[[], AbstractContextManager[None]],
        working: Callable[[str], AbstractContextManager[object]],
        say: Callable[[str], None],
    ) -> None:
        self._cache, self._folder, self._task, self._lock, self._working = cache, folder, task, lock, working
        self._say = say
        self._known: dict[Path, tuple[Path, Conversion] | EdgeError] = {}

    def onnx_of(self, path: Path) -> tuple[Path, Conversion | None]:
        """The ONNX file that is studied in the place of the model at ``path``, and how it came about; ``path`` itself for a model that isn't PyTorch's.

        A file and a folder are converted once for each content and version, and then found in the cache. What a function makes is known only when it was
        called, so it is once in each run; the file that it becomes is one entry for each content again. A failure is told again each time it is asked for.

        Raises ModelError, UsageError, BuildError or WorkerError where it can't be converted, and UnsupportedError where what that takes isn't installed.
        """
        origin = files.origin_of(path)
        if origin is None:
            return path, None
        path = path.absolute()
        if path not in self._known:
            try:
                self._known[path] = self._converted(path, origin)
            except EdgeError as error:
                self._known[path] = error
        known = self._known[path]
        if isinstance(known, EdgeError):
            raise known
        return known

    def _converted(self, path: Path, origin: Origin) -> tuple[Path, Conversion]:
        versions = _versions(path, origin)
        variant = (self._of_function if origin == "function" else self._of_files)(path, origin, versions)
        found = msgspec.json.decode((Path(variant.folder) / RECORD).read_bytes(), type=Conversion)
        for axis, why in found.fixed.items():
            self._say(f"{path.name}: its {axis} is fixed, because {why}")
        return Path(variant.folder) / FILE, msgspec.structs.replace(found, source=str(path))

    def _of_files(self, path: Path, origin: Origin, versions: dict[str, str]) -> Variant:
        digest = files.digest(path, "huggingface" if origin == "transformers" else "onnx")
        key, make = _key(origin, digest, versions), functools.partial(self._convert, path, origin)
        working = functools.partial(self._working, _doing(path))
        variant, _ = made(key, RECIPE, _model(path, digest), versions, self._cache, self._lock, working, make)
        return variant

    def _of_function(self, path: Path, origin: Origin, versions: dict[str, str]) -> Variant:
        """Called by the first process of a run that asks, whose answer is the others', too: they must judge one model, even if it is made of random numbers."""
        word = self._folder / "functions" / f"{digest_of(str(path))[:16]}.json"
        word.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(word.with_suffix(".lock")):
            if word.is_file() and (known := self._cache.find(msgspec.json.decode(word.read_bytes(), type=str))):
                return known
            with self._lock(), self._working(_doing(path)), self._cache.partial() as partial:
                begin = time.monotonic()
                self._convert(path, origin, partial / ARTIFACT)
                digest = digest_of_file(partial / ARTIFACT / FILE)
                key, seconds = _key(origin, digest, versions), time.monotonic() - begin
                variant = self._cache.put(key, partial, RECIPE, _model(path, digest), versions, seconds)
            word.write_bytes(msgspec.json.encode(key))  # nobody reads it without the lock
            return variant

    def _convert(self, path: Path, origin: Origin, folder: Path) -> None:
        arguments = {"path": str(path), "origin": origin, "working": str(Path.cwd()), "folder": str(folder)}
        self._task("convert", arguments, subject=path.name, timeout=BUILD_TIMEOUT)


def _doing(path: Path) -> str:
    return f"converting {path.name} to ONNX"


def _model(path: Path, digest: str) -> Model:
    return Model(name=path.name, path=str(path), kind="onnx", digest=digest)


def _key(origin: Origin, digest: str, versions: Mapping[str, str]) -> str:
    own = importlib.metadata.version("pytest-edgeai")
    return digest_of([SCHEMA, RECIPE.name, origin, digest, dict(versions), own])


def _versions(path: Path, origin: Origin) -> dict[str, str]:
    """Of what converts it. Raises UnsupportedError where it isn't installed."""
    wanted = DISTRIBUTIONS[origin]
    lacking = [name for name in wanted if name not in installed(wanted)]
    extras = ["torch"] if lacking else []
    if not installed(RUNTIMES):
        lacking, extras = [*lacking, "onnxruntime"], [*extras, "onnxruntime"]
    if lacking:
        told = f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed"
        raise UnsupportedError(
            f"{path.name} comes from PyTorch and is converted to ONNX first, and {told}: pip install 'pytest-edgeai[{','.join(extras)}]'."
        )
    return {name: importlib.metadata.version(name) for name in wanted}
