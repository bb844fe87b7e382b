"""State: what the plugin keeps in pytest's stash, made when it is first needed."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_edgeai import folders

if TYPE_CHECKING:
    from pytest_edgeai.plugin.session import EdgeSession

_SESSION: "pytest.StashKey[EdgeSession]" = pytest.StashKey()
_FOLDER: "pytest.StashKey[Path]" = pytest.StashKey()


def session(config: pytest.Config) -> "EdgeSession":
    """The one session of this pytest process. Raises pytest.UsageError for options that are wrong."""
    if _SESSION not in config.stash:
        from pytest_edgeai.plugin.session import EdgeSession

        config.stash[_SESSION] = EdgeSession(config, run_folder(config))
    return config.stash[_SESSION]


def run_folder(config: pytest.Config) -> Path:
    """Where the processes of a run leave what they find; pytest-xdist's controller names it for its workers. Not made yet."""
    if _FOLDER not in config.stash:
        given = getattr(config, "workerinput", {}).get("edge_folder")
        try:
            config.stash[_FOLDER] = Path(given) if given else folders.temporary(time.strftime("%Y%m%dT%H%M%S"))
        except OSError as error:
            raise pytest.UsageError(f"There is no folder for temporary files: {error}. Let TMPDIR name one.") from None
    return config.stash[_FOLDER]
