"""Files: what kind of model lies at a path, told from outside, and its digest. Nothing is parsed."""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

import msgspec

from pytest_edgeai.errors import ModelError
from pytest_edgeai.records import ModelKind, Origin, digest_of

KINDS: Final[dict[str, ModelKind]] = {".onnx": "onnx", ".gguf": "gguf"}
"""File suffix -> kind of model."""
PROGRAM: Final = ".pt2"
"""The suffix of what ``torch.export.save`` writes."""
PICKLES: Final = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
"""Suffixes of what ``torch.save`` writes."""
FORMS: Final = "an .onnx, .gguf or .pt2 file, a function as FILE.py:FUNCTION, or a folder as Hugging Face saves models"
CONFIG: Final = "config.json"
LONGEST_CONFIG: Final = 2**20
"""Bytes of a folder's configuration that are read to tell what its model is for."""
_FUNCTION: Final = re.compile(r"(?P<file>.+\.py):(?P<function>[^:/\\]*)", re.DOTALL)
_TENSORS: Final = re.compile(r"\w+For(?!CausalLM|ConditionalGeneration)[A-Z]\w*")
"""Architectures of Hugging Face that are no language models: they are named after the task that their head is for."""
_OF_FOLDERS: Final = (".json", ".safetensors", ".model", ".txt", ".jinja")
"""Endings of the files of a folder that make up the model."""


def kind_of(path: Path) -> ModelKind | None:
    """What form the model has, or is given where it comes from PyTorch (:func:`origin_of`): by its name's ending, a folder by what it holds; ``None``
    for no form that is known."""
    if origin_of(path) is not None:
        return "onnx"
    return KINDS.get(path.suffix.lower()) or ("huggingface" if path.is_dir() else None)


def origin_of(path: Path) -> Origin | None:
    """Where a model comes from that is converted to ONNX first; ``None`` for one that is taken as it is."""
    if path.suffix.lower() == PROGRAM:
        return "program"
    if function_of(path) is not None:
        return "function"
    return "transformers" if _TENSORS.fullmatch(architecture_of(path)) else None


def function_of(path: Path) -> tuple[Path, str] | None:
    """The file and the function's name of ``FILE.py:FUNCTION``; ``None`` where the model isn't named so."""
    found = _FUNCTION.fullmatch(str(path))
    return (Path(found["file"]), found["function"]) if found else None


class _Config(msgspec.Struct):
    """Of a folder's configuration."""

    architectures: list[str] | None = None


def architecture_of(folder: Path) -> str:
    """The first one that a folder's configuration names: ``ViTForImageClassification``; empty where there is none, or none that can be read.

    It is all that the pytest process reads of a model, because it decides which variants a test has.
    """
    try:
        with opened(folder / CONFIG) as stream:
            found = msgspec.json.decode(stream.read(LONGEST_CONFIG), type=_Config).architectures
    except (ModelError, msgspec.DecodeError, RecursionError, OSError):  # told where the model is read
        return ""
    return found[0] if found else ""


def unknown(path: Path) -> ModelError:
    """The sentence for what is of no kind that is known."""
    if path.suffix.lower() in PICKLES:
        return ModelError(
            f"The model {path} is a pickle by its name, and a pickle runs whatever code is in it when it is read. Save the model as a program with "
            "torch.export.save(program, 'model.pt2'), or write a function that makes it and name that: FILE.py:FUNCTION."
        )
    if path.suffix.lower() == ".py":
        return ModelError(
            f"The model {path} is a file of Python: name the function in it that makes the model, {path.name}:FUNCTION."
        )
    return ModelError(f"The model {path} is of no kind that is known: a model is {FORMS}.")


def digest(path: Path, kind: ModelKind) -> str:
    """Of the file, or of all files that make up the folder. Raises ModelError."""
    if kind != "huggingface":
        with opened(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    found = {}
    for file in files_of(path):
        with opened(file) as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digest_of(found)


def files_of(folder: Path) -> list[Path]:
    """Those that make up the model in this folder. Raises ModelError where there is none in it."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not any(file.name == CONFIG for file in inside):
        models = [file.name for file in inside if file.suffix.lower() in KINDS]
        found = f"It holds {', '.join(models[:3])}: name that file." if models else f"It has no {CONFIG}."
        raise ModelError(f"{folder} is a folder; a model is {FORMS}. {found}")
    return [file for file in inside if file.suffix.lower() in _OF_FOLDERS and not file.is_dir()]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The file, opened only if it is a regular one that isn't empty: opening a FIFO would block, reading a device never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path} is {_kind(status.st_mode)}, not a regular file; a model is {FORMS}.")
        if status.st_size == 0:
            raise ModelError(
                f"{path} is empty (0 bytes), so its export or download didn't finish. Make or fetch it again."
            )
        # Without blocking, in case it was swapped for a FIFO meanwhile.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"There is no model at {path}. Is the path right, seen from {Path.cwd()}?") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, error) from error
    with os.fdopen(handle, "rb") as stream:
        yield stream


def _unreadable(path: Path, error: OSError | ValueError) -> ModelError:
    reason = getattr(error, "strerror", None) or error
    return ModelError(f"The model at {path} can't be read ({reason}). Check the path and its permissions.")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "something special"
