"""Where the plugin keeps its state: one key in pytest's stash."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_edgeai.plugin.session import EdgeSession

SESSION: "pytest.StashKey[EdgeSession]" = pytest.StashKey()
