"""Files: what kind of model lies at a path, told from outside, and its digest. Nothing is parsed."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

from pytest_edgeai.errors import ModelError
from pytest_edgeai.records import ModelKind, digest_of

KINDS: Final[dict[str, ModelKind]] = {".onnx": "onnx", ".gguf": "gguf"}
"""File suffix -> kind of model."""
FORMS: Final = "an .onnx or .gguf file, or a folder as Hugging Face saves models"
CONFIG: Final = "config.json"
_OF_FOLDERS: Final = (".json", ".safetensors", ".model", ".txt", ".jinja")
"""Endings of the files of a folder that make up the model."""


def kind_of(path: Path) -> ModelKind | None:
    """What form the model has: by its name's ending, a folder by what it holds; ``None`` for no form that is known."""
    return KINDS.get(path.suffix.lower()) or ("huggingface" if path.is_dir() else None)


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
