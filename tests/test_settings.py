"""Settings: every option is a field, and flag, ini key and help come from it."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_edgeai import settings
from pytest_edgeai.settings import PATHS, Settings

FIELDS = dataclasses.fields(Settings)
PACKAGE = Path(__file__).parents[1] / "pytest_edgeai"


@pytest.fixture(scope="module")
def help_text() -> str:
    """What ``pytest --help`` prints."""
    command = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stdout


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_option_has_a_sentence_of_help_and_a_default(field):
    text = field.metadata["help"]

    assert text[0].isupper()
    assert text.endswith((".", ")"))
    assert getattr(Settings(), field.name) == field.default


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_option_is_a_flag_and_an_ini_key_of_the_same_name(field, help_text):
    words = help_text.split()

    flag, key = settings.flag(field.name), settings.key(field.name)
    assert any(word.partition("=")[0] == flag for word in words)
    assert any(line.split()[:1] == [key] for line in help_text.splitlines())


def test_there_are_no_flags_but_those_of_the_fields(help_text):
    flags = {word.partition("=")[0].rstrip(",") for word in help_text.split() if word.startswith("--edge-")}

    assert flags >= {settings.flag(field.name) for field in FIELDS}
    assert {flag for flag in flags if flag.removeprefix("--edge-").rstrip(".):;'") not in known()} == set()


def known() -> set[str]:
    return {settings.flag(field.name).removeprefix("--edge-") for field in FIELDS}


def test_an_option_is_declared_nowhere_but_in_its_field():
    calls = [
        (path.name, ast.unparse(node.args[0]))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("addoption", "addini")
    ]

    assert calls
    assert {(name, argument) for name, argument in calls if argument not in ("flag", "key")} == set()


def test_a_field_that_names_a_file_is_one():
    assert {field.name for field in FIELDS} >= PATHS


def test_choices_hold_the_default():
    for field in FIELDS:
        choices = field.metadata["choices"]

        assert choices is None or field.default in choices


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().target = "intel"  # type: ignore[misc]
