"""The registry: finds frameworks, metrics and targets. Built-ins come first, then entry points, then what conftests name; all
through the same hooks."""

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pluggy

from pytest_edgeai.distributions import installed
from pytest_edgeai.errors import EdgeError, PluginError, UsageError, unknown
from pytest_edgeai.hookspecs import PROJECT, PluginHooks
from pytest_edgeai.protocols import Framework, Helped, Metric
from pytest_edgeai.records import Assessment, Recipe, Target

BUILT_IN = (
    "pytest_edgeai.targets.builtin",
    "pytest_edgeai.frameworks.onnxruntime",
    "pytest_edgeai.frameworks.openvino",
    "pytest_edgeai.frameworks.mlx",
    "pytest_edgeai.frameworks.llamacpp",
    "pytest_edgeai.frameworks.olive",
    "pytest_edgeai.metrics.latency",
    "pytest_edgeai.metrics.cold_start",
    "pytest_edgeai.metrics.memory",
    "pytest_edgeai.metrics.energy",
)
ENTRY_POINTS = "pytest_edgeai"
TIMES = ("call", "start", "process", "block")
"""When a metric may be armed and read."""
RESERVED = frozenset(
    {
        "speedup",
        "throughput",
        "size",
        "compressed_size",
        "accuracy",
        "offline",
        "name",
        "recipe",
        "rigor",
        "baseline",
        "reference",
    }
    | {
        "ttft",
        "tpot",
        "itl",
        "end_to_end",
        "prefill",
        "decode",
        "perplexity",
        "bits_per_byte",
        "kl_divergence",
        "agreement",
    }
    | {"is_choice", "is_original", "stands_beside"}
)
"""What a variant has in a test whatever its metrics are."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What was found, by name."""

    modules: tuple[str, ...]
    """Dotted names of every plugin module; a worker that loads them finds the same."""
    frameworks: dict[str, Framework]
    metrics: dict[str, Metric]
    targets: dict[str, Target]

    def framework(self, name: str) -> Framework:
        """Raises UsageError with a guess when there is none of this name."""
        if name not in self.frameworks:
            raise UsageError(unknown("framework", name, self.frameworks))
        return self.frameworks[name]

    def metrics_per(self, *when: str) -> tuple[str, ...]:
        """Names of the metrics that are armed and read so: ``call``, ``start``, ``process``, ``block``."""
        return tuple(name for name, metric in self.metrics.items() if metric.per in when)

    def target(self, name: str) -> Target:
        """Raises UsageError with a guess when there is none of this name."""
        if name not in self.targets:
            raise UsageError(unknown("target", name, [*self.targets, "auto"]))
        return self.targets[name]


def find(extra: Iterable[str] = ()) -> Registry:
    """Built-ins, entry points, then the modules named in ``extra``. Raises PluginError."""
    entries = (entry.value for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))
    return load(list(dict.fromkeys([*BUILT_IN, *entries, *extra])))


def load(modules: Sequence[str]) -> Registry:
    """Register exactly these plugin modules. Raises PluginError, naming the plugin, when one is wrong."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    for name in modules:
        try:
            manager.register(importlib.import_module(name), name=name)
            manager.check_pending()  # a hook that we don't know is a misspelt one
        except Exception as error:  # whatever a module does when it is imported
            reason = " ".join(str(error).split())
            raise PluginError(
                f"The plugin module '{name}' can't be loaded: {type(error).__name__}: {reason}"
            ) from error
    return Registry(
        modules=tuple(modules),
        frameworks=_collect(manager.hook.edge_frameworks, "framework", lambda found: isinstance(found, Framework)),
        metrics=_collect(manager.hook.edge_metrics, "metric", lambda found: isinstance(found, Metric)),
        targets=_collect(manager.hook.edge_targets, "target", lambda found: isinstance(found, Target)),
    )


def ask(framework: Framework, method: str, *arguments: Any) -> Any:
    """What a framework answers in the pytest process. Raises PluginError, naming it, for whatever it raises itself."""
    try:
        return getattr(framework, method)(*arguments)
    except EdgeError:
        raise
    except Exception as error:  # a plugin's own, whatever it is
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"The framework '{framework.name}' failed in {method}(): {reason}") from error


def ask_for_recipes(framework: Framework, method: str, *arguments: Any) -> list[Recipe]:
    """As :func:`ask`, of what gives a recipe, several, or none."""
    answer = ask(framework, method, *arguments)
    found = [] if answer is None else [answer] if isinstance(answer, Recipe) else answer
    if not isinstance(found, Sequence) or not all(isinstance(one, Recipe) for one in found):
        raise PluginError(
            f"The framework '{framework.name}' gave {answer!r} in {method}(), which is no pytest_edgeai.records.Recipe."
        )
    return list(found)


def versions(framework: Framework, assessment: Assessment | None = None) -> dict[str, str] | None:
    """Distribution -> installed version, with those that this model is built with; ``None`` when one of them is not installed. Imports nothing."""
    helpers = framework.helpers(assessment) if assessment is not None and isinstance(framework, Helped) else ()
    try:
        return {name: importlib.metadata.version(name) for name in (*framework.distributions, *helpers)}
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_by(framework: Framework, lacking: Sequence[str] = ()) -> str:
    """The command: of the extra of the framework's name where there is one, for it says which versions go together; else of what is lacking of it.

    Before it what must go, where the framework ``replaces`` distributions with the same packages.
    """
    extras = importlib.metadata.metadata("pytest-edgeai").get_all("Provides-Extra") or ()
    what = (
        f"'pytest-edgeai[{framework.name}]'"
        if framework.name in extras
        else " ".join(lacking or framework.distributions)
    )
    gone = installed(getattr(framework, "replaces", ()))
    return f"pip uninstall {' '.join(gone)}; pip install {what}" if gone else f"pip install {what}"


def _collect(hook: pluggy.HookCaller, what: str, fits: Callable[[Any], bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for implementation in reversed(hook.get_hookimpls()):
        plugin = implementation.plugin_name
        try:
            things: list[Any] = list(cast("Iterable[Any]", implementation.function()))
        except Exception as error:  # a plugin's own, whatever it is
            raise PluginError(
                f"The plugin '{plugin}' failed in {hook.name}: {type(error).__name__}: {error}"
            ) from error
        for thing in things:
            if inspect.isclass(thing):
                raise PluginError(
                    f"The plugin '{plugin}' gave the class {thing.__name__} as a {what}: give an instance."
                )
            if not fits(thing):
                raise PluginError(f"The plugin '{plugin}' gave {thing!r} as a {what}, but {_lack(what, thing)}.")
            if wrong := _wrong_metric(thing) if what == "metric" else None:
                raise PluginError(f"The plugin '{plugin}' gave the metric {thing.name!r}, but {wrong}.")
            if thing.name in found:
                raise PluginError(
                    f"Two plugins bring a {what} named '{thing.name}': '{owner[thing.name]}' and '{plugin}'."
                )
            found[thing.name], owner[thing.name] = thing, plugin
    # Registration order would show who was found first; names are equal on every machine.
    return dict(sorted(found.items()))


def _wrong_metric(metric: Any) -> str | None:
    """What is wrong with a metric that has all that one needs."""
    if not isinstance(metric.name, str) or not metric.name.isidentifier() or metric.name in RESERVED:
        return "its name must be a Python name, which tests write as variant.NAME, and none that has a meaning already"
    if not isinstance(metric.units, Mapping) or not metric.units or not all(map(_is_name, metric.units)):
        return f"its units must name a unit for each number that it reads, as in {{'{metric.name}': 's'}}"
    return None if metric.per in TIMES else f"its per is {metric.per!r}; it must be one of {', '.join(TIMES)}"


def _is_name(part: object) -> bool:
    return isinstance(part, str) and part.isidentifier()


def _lack(what: str, thing: object) -> str:
    protocol = {"framework": Framework, "metric": Metric}.get(what)
    if protocol is None:
        return "it is not a pytest_edgeai.records.Target"
    needed = [
        *inspect.get_annotations(protocol),
        *(n for n, f in vars(protocol).items() if inspect.isfunction(f) and n[0] != "_"),
    ]
    return f"it lacks {', '.join(name for name in needed if not hasattr(thing, name))}"
