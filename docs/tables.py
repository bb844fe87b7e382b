"""The tables of the manual that are made from the code: a Sphinx extension with the directive ``edge-table``.

Each table is a function that returns Markdown. So none of them can say anything else than the code does.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import pytest_edgeai
from pytest_edgeai import errors, hookspecs, plugin, protocols, registry, scoring, settings, units
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.measure import process
from pytest_edgeai.records import Hardware, Limits, Target

PACKAGE = Path(pytest_edgeai.__file__).parent


def options() -> list[str]:
    """Flag, ini key, meaning and default of every field of Settings."""
    rows = []
    for field in dataclasses.fields(settings.Settings):
        metavar, choices = field.metadata["metavar"], field.metadata["choices"]
        value = "|".join(choices) if choices else metavar
        flag = settings.flag(field.name) + (f" {value}" if value else "")
        default = f" Default: {_code(field.default)}." if field.default else ""
        rows.append(
            [f"{_code(flag)}<br>{_code(settings.key(field.name))}", _markdown(field.metadata["help"]) + default]
        )
    return _table(["option, and its ini key", "what"], rows)


def markers() -> list[str]:
    """As they are registered with pytest."""
    return _table(["marker", "what"], [[_code(_spaced(use)), what] for use, what in _split(plugin.MARKERS)])


def fixtures() -> list[str]:
    """What a test can ask for, with the first line of its description."""
    rows = []
    for name in sorted(name for name in plugin.__all__ if name.startswith("edge_")):
        function = getattr(getattr(plugin, name), "__wrapped__", None) or getattr(plugin, name)._get_wrapped_function()
        kind = str(inspect.get_annotations(function)["return"])
        rows.append([_code(name), _code(kind), _first(function)])
    return _table(["fixture", "gives", "what"], rows)


def quantities() -> list[str]:
    """Every quantity of a variant, with its unit; those of one metric in one row."""
    from pytest_edgeai.judge.quantities import Subject, units

    found = units(_metrics().values()) | units(_metrics().values(), language=True)
    families: dict[str, list[str]] = {}
    for name in found:
        families.setdefault(name.partition(".")[0], []).append(name)
    rows = []
    for family, names in families.items():
        described = inspect.getattr_static(Subject, family, None)
        text = _first(described) if isinstance(described, property) else _first(type(_metrics()[family]))
        used = dict.fromkeys(UNIT_WORDS.get(found[name], found[name]) for name in names)
        rows.append(["<br>".join(map(_code, names)), ", ".join(used), text])
    return _table(["quantity", "unit", "what"], rows)


UNIT_WORDS = {"s": "seconds", "x": "times", "proportion": "0 to 1"}
"""How a unit is called where it isn't the word itself."""


def metrics() -> list[str]:
    """The sensors that come with the package."""
    rows = [
        [_code(name), metric.per, ", ".join(dict.fromkeys(metric.units.values())), _first(type(metric))]
        for name, metric in _metrics().items()
    ]
    return _table(["metric", "read once a", "unit", "what"], rows)


def unit_names() -> list[str]:
    """What ``from pytest_edgeai import ...`` gives to multiply by."""
    names = [name for name, value in vars(units).items() if isinstance(value, float) and not name.startswith("_")]
    rows = [[_code(name), f"{vars(units)[name]:.15g}"] for name in names if hasattr(pytest_edgeai, name)]
    return _table(["unit", "in seconds or bytes"], rows)


def targets() -> list[str]:
    """Who they are, and in which order they prefer frameworks."""
    rows = [
        [_code(t.name), t.title, ", ".join(t.frameworks) or "none", _hardware(t.hardware), _hardware(t.stand_in)]
        for t in _targets()
    ]
    return _table(["target", "what it is", "frameworks in order", "a device is of it when", "may stand in"], rows)


def limits() -> list[str]:
    """What each target demands; where a column is empty it has no such limit."""
    fields = [field.name for field in msgspec.structs.fields(Limits)]
    rows = [
        [_code(target.name), *(_limit(name, getattr(target.limits, name)) for name in fields)] for target in _targets()
    ]
    return _table(["target", *(_code(name) for name in fields)], rows)


def limit_fields() -> list[str]:
    """Field, default and meaning."""
    described = _field_texts(Limits)
    rows = [
        [
            _code(field.name),
            _limit(field.name, field.default) or ("no" if field.default is False else "no limit"),
            described.get(field.name, ""),
        ]
        for field in msgspec.structs.fields(Limits)
    ]
    return _table(["limit", "default", "what"], rows)


def remarks() -> list[str]:
    """What is said whenever a target is used."""
    return [f"- {_code(target.name)}: {remark}" for target in _targets() for remark in target.remarks] or ["None."]


def rigor() -> list[str]:
    """The effort and the error rates of a comparison."""
    rows = [
        [
            _code(name),
            f"{rules.budget:g} s",
            f"{rules.pairs}, near the limit up to {max(rules.looks)}",
            f"{rules.alpha:g}",
            f"{rules.accuracy_pass:g} / {rules.accuracy_fail:g}",
        ]
        for name, rules in RIGOR.items()
    ]
    head = ["rigor", "budget", "process pairs", "error rate of speed, a side", "of accuracy: false PASS / false FAIL"]
    return _table(head, rows)


def scores() -> list[str]:
    """The built-in ones."""
    return _table(["score", "what"], [[_code(name), _first(getattr(scoring, name))] for name in scoring.BUILT_IN])


def plugin_hooks() -> list[str]:
    """Of plugin modules, and of conftests."""
    rows = [
        [_code(f"{name}({_parameters(hook)})"), where, _first(hook)]
        for holder, where in ((hookspecs.PluginHooks, "plugin module"), (hookspecs.ConftestHooks, "conftest.py"))
        for name, hook in vars(holder).items()
        if inspect.isfunction(hook)
    ]
    return _table(["hook", "implemented by a", "what it gives"], rows)


def framework_methods() -> list[str]:
    """What an engine has, and where each method runs."""
    worker = {"devices", "build", "load"}  # as the protocol's docstring says
    rows = [
        [_code(f"{name}({_parameters(method)})"), "worker" if name in worker else "pytest", _first(method)]
        for name, method in vars(protocols.Framework).items()
        if inspect.isfunction(method) and not name.startswith("_")
    ]
    return _table(["method", "runs in", "what"], rows)


def error_classes() -> list[str]:
    """Every error that is raised on purpose."""
    found = [e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, errors.EdgeError)]
    return _table(["error", "when"], [[_code(error.__name__), _first(error)] for error in found])


def error_sentences() -> list[str]:
    """Each sentence that the package raises, read from its source; what is filled in is shown by its name."""
    kinds = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.EdgeError)
    }
    found: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[text])) if name in kinds:
                    found.setdefault(name, set()).update(_sentence(text))
    lines: list[str] = []
    for name in sorted(found):
        lines += ["", f"**{name}**", "", *(f"- {text}" for text in sorted(found[name]))]
    return lines


def inherited_environment() -> list[str]:
    """What a worker gets from yours."""
    return [", ".join(_code(name) for name in sorted(process.KEPT)) + "."]


def hub_environment() -> list[str]:
    """What a worker gets from yours where it loads data from Hugging Face's hub."""
    return [", ".join(_code(name) for name in sorted(process.HUB)) + "."]


def set_environment() -> list[str]:
    """What a worker is given instead."""
    return _table(["variable", "in a worker"], [[_code(name), _code(value)] for name, value in process.SET.items()])


TABLES: dict[str, Callable[[], list[str]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        options, markers, fixtures, quantities, metrics, unit_names, targets, limits, limit_fields, remarks,  rigor,
        scores, plugin_hooks, framework_methods, error_classes, error_sentences, inherited_environment, hub_environment, set_environment,
    )
}  # fmt: skip
"""Name in the manual -> what makes it."""


class EdgeTable(SphinxDirective):
    """``{edge-table} NAME``: the table of that name, parsed as Markdown."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(errors.unknown("table", name, TABLES))
        holder = nodes.container()
        self.state.nested_parse(StringList(TABLES[name](), source=__file__), 0, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_directive("edge-table", EdgeTable)
    return {"parallel_read_safe": True}


def _metrics() -> dict[str, Any]:
    return registry.find().metrics


def _targets() -> list[Target]:
    return list(registry.find().targets.values())


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _code(text: object) -> str:
    return f"`{text}`"


def _first(thing: object) -> str:
    """The first paragraph of a docstring, its roles and double backticks as Markdown has them."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return _markdown(text)


def _markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _split(markers: Iterable[str]) -> Iterator[tuple[str, str]]:
    for marker in markers:
        use, _, what = marker.partition(": ")
        yield use, what


def _spaced(text: str) -> str:
    return text if "(" in text else f"{text}()"


def _parameters(function: Callable[..., Any]) -> str:
    return ", ".join(name for name in inspect.signature(function).parameters if name != "self")


def _hardware(hardware: Hardware | None) -> str:
    if hardware is None:
        return "nothing"
    told = [
        " or ".join(values)
        for values in (hardware.accelerators, hardware.vendors, hardware.architectures, hardware.systems)
        if values
    ]
    return "; ".join(told) or "always"


def _limit(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if name in ("accuracy_kept", "speedup", "memory"):
        return f"{value:g}"
    return units.show(value, "W" if "watts" in name else "bytes")


def _field_texts(record: type) -> dict[str, str]:
    """Field -> the text under it in the source of its record."""
    body = ast.parse(inspect.getsource(record)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            texts[ast.unparse(field.target)] = _markdown(str(after.value.value))
    return texts


def _sentence(node: ast.expr) -> Iterator[str]:
    """The text of a literal or an f-string; nothing for a text that is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield _escaped(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = [
            _escaped(str(part.value)) if isinstance(part, ast.Constant) else f"`{_placeholder(part)}`"
            for part in node.values
        ]
        yield "".join(parts)


def _placeholder(part: ast.expr) -> str:
    assert isinstance(part, ast.FormattedValue)
    return re.sub(r"\b(self\.)?_*", "", ast.unparse(part.value))


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>`\[\]{}#|])", r"\\\1", text)
