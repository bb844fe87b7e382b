"""Options: made from the fields of Settings, read from the command line, else the ini file, else the default."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_edgeai import settings, tasks
from pytest_edgeai.settings import PATHS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable


def declare(parser: pytest.Parser) -> None:
    """A flag and an ini key for every field."""
    group = parser.getgroup("edgeai", "optimized variants of a model, measured and judged")
    for field in dataclasses.fields(Settings):
        flag, key, text = settings.flag(field.name), settings.key(field.name), field.metadata["help"]
        if isinstance(field.default, bool):
            group.addoption(flag, action="store_true", default=None, help=text)
            parser.addini(key, text, type="bool", default=None)
        else:
            converts = _NUMBERS.get(field.metadata["number"], str)
            choices, metavar = field.metadata["choices"], field.metadata["metavar"]
            group.addoption(flag, default=None, help=text, type=converts, choices=choices, metavar=metavar)
            parser.addini(key, text, type="string", default=None)


def read(config: pytest.Config) -> Settings:
    """Raises pytest.UsageError for a value that is not one of the choices or not a number."""
    return Settings(**{field.name: _value(config, field) for field in dataclasses.fields(Settings)})


def _seconds(text: str | float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds, from 0 on")
    return seconds


def _count(text: str | int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, from 1 on")
    return number


_NUMBERS: "Final[dict[str | None, Callable[[Any], Any]]]" = {"seconds": _seconds, "count": _count}


def _value(config: pytest.Config, field: "dataclasses.Field[Any]") -> Any:
    key = settings.key(field.name)
    given, base = config.getoption(key), config.invocation_params.dir
    if given is None:
        given, base = config.getini(key), config.inipath.parent if config.inipath else config.rootpath
    if given is None or given == "":
        # Without an ini file pytest takes for its root what the paths among the options have in common.
        given, base = field.default, config.rootpath if config.inipath else config.invocation_params.dir
    if given is None or isinstance(given, bool):
        return given
    choices = field.metadata["choices"]
    if choices and given not in choices:
        raise pytest.UsageError(f"{key} = {given} in the ini file: it must be one of {', '.join(choices)}.")
    if field.metadata["number"]:
        try:
            return _NUMBERS[field.metadata["number"]](given)
        except argparse.ArgumentTypeError as error:
            raise pytest.UsageError(f"{key} = {given} in the ini file: {error}.") from None
    if field.name == "dataset":
        found = tasks.dataset(given, base)
        return str(found.absolute() if isinstance(found, Path) else found)
    return str((base / Path(given)).absolute()) if field.name in PATHS else given
