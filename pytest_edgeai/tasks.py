"""Tasks of lm-evaluation-harness by name: ``lm_eval:arc_easy/acc_norm[:500]`` in the place of a dataset's file. Read at each start of pytest, hence plain."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "lm_eval:"
_FORM: Final = re.compile(
    r"(?P<name>.+?\.ya?ml|[^/\[\]]+)(/(?P<metric>[^/\[\]]+))?(\[:(?P<limit>[1-9][0-9]*)\])?", re.IGNORECASE
)
_COMMA: Final = re.compile(r"(?<!\\),")
"""Between tasks. One that is part of a folder's name has a backslash before it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task, or a group of tasks."""

    name: str
    """As the harness lists it, or the path of a YAML file."""
    metric: str = ""
    """That a document is scored by; empty: the task's usual one."""
    limit: int | None = None
    """Documents of each task, the first ones; ``None``: all."""

    @property
    def is_file(self) -> bool:
        """Whether it is a file of the user's."""
        return self.name.casefold().endswith((".yaml", ".yml"))

    def __str__(self) -> str:
        metric, limit = f"/{self.metric}" if self.metric else "", f"[:{self.limit}]" if self.limit else ""
        return self.name.replace(",", r"\,") + metric + limit


@dataclass(frozen=True, slots=True)
class Tasks:
    """What a language model is scored by in the place of texts of the user's."""

    wanted: tuple[Wanted, ...]

    def __str__(self) -> str:
        return PREFIX + ",".join(map(str, self.wanted))

    @property
    def name(self) -> str:
        """Without the folders of files, for people."""
        return PREFIX + ",".join(str(dataclasses.replace(one, name=Path(one.name).name)) for one in self.wanted)


def dataset(given: str, folder: Path) -> Path | Tasks:
    """What the name of a dataset means; paths, also those of tasks, are relative to ``folder``."""
    if not given.startswith(PREFIX):
        return folder / given
    parts = (part.strip().replace(r"\,", ",") for part in _COMMA.split(given.removeprefix(PREFIX)))
    return Tasks(tuple(_wanted(part, folder) for part in parts))


def _wanted(part: str, folder: Path) -> Wanted:
    form = _FORM.fullmatch(part)
    if form is None:  # no task is called so, which is told when it is looked for
        return Wanted(part)
    found = Wanted(form["name"], form["metric"] or "", int(form["limit"]) if form["limit"] else None)
    return Wanted(str((folder / found.name).absolute()), found.metric, found.limit) if found.is_file else found
