"""The journal: what every process of a run found out, a line a fact, so that a crash loses at most a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec


class Journal:
    """Appends to a file of its own in the run's folder."""

    def __init__(self, folder: Path, who: str) -> None:
        self.folder = folder
        self._path = folder / f"journal-{who}.jsonl"

    def write(self, kind: str, model: str, fact: Any) -> None:
        """``fact``: a record or plain data; ``model``: the key of the study that it is about, or empty."""
        entry = {"kind": kind, "model": model, "fact": fact}
        try:
            line = msgspec.json.encode(entry)
        except UnicodeEncodeError:  # a file's name that is not UTF-8
            line = json.dumps(msgspec.to_builtins(entry), ensure_ascii=False).encode("utf-8", "replace")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab") as stream:
            stream.write(line + b"\n")


def read(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """(kind, model, fact as plain data) of every whole line, process after process."""
    for path in sorted(folder.glob("journal-*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                continue  # its writer was killed in the middle of it
            entry = msgspec.json.decode(line)
            yield entry["kind"], entry["model"], entry["fact"]


class Tail:
    """The facts of all processes as they are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        """Bytes of each journal that were read: whole lines."""

    def more(self) -> Iterator[tuple[str, Any]]:
        """(kind, fact as plain data) of the lines that are new since the last look."""
        for path in sorted(self._folder.glob("journal-*.jsonl")):
            try:
                with path.open("rb") as stream:
                    stream.seek(self._read.get(path, 0))
                    lines = stream.read().splitlines(keepends=True)
            except OSError:  # the run is over, and its folder is gone
                return
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._read[path] = self._read.get(path, 0) + len(line)
                entry = msgspec.json.decode(line)
                yield entry["kind"], entry["fact"]
