"""The console command ``edgeai``: what is not a test. It shows what the plugin would see, decide and try; ``search`` alone builds something."""

import argparse
import collections
import contextlib
import dataclasses
import datetime as dt
import itertools
import os
import shlex
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from pytest_edgeai import tasks
from pytest_edgeai.errors import EdgeError, UsageError, unknown

if TYPE_CHECKING:
    from pytest_edgeai.doctor.checkup import CheckUp
    from pytest_edgeai.doctor.engines import Engine, RecipeTrial
    from pytest_edgeai.pipeline import Run
    from pytest_edgeai.records import Assessment, Citation, Limits, Plan, Search, Target
    from pytest_edgeai.registry import Registry
    from pytest_edgeai.settings import Settings

SCHEMA: Final = 1
"""Version of what ``assess --json`` and ``recommend --json`` print."""
WIDEST: Final = 120
"""Columns; longer lines are hard to read, however wide the terminal is."""
_COLORS: Final = {
    "works": 32,
    "ok": 32,
    "fails": 31,
    "problem": 31,
    "note": 33,
    "absent": 33,
    "refuse": 33,
    "build": 32,
}
"""First words of a row -> ANSI colour, on a terminal that has colours."""

_CHECKED: Final = ("governor", "virtualisation", "power", "thermal_sensors", "rapl", "isa")
"""Facts of the device that the doctor has a check for."""

_MODEL: Final = "an .onnx, .gguf or .pt2 file, a function that makes one (FILE.py:FUNCTION), or a folder as Hugging Face saves models"

Row = tuple[str, str]
"""A label and a text that is wrapped beside it; without a text, a heading; without both, an empty line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status. 0: done; 1: a framework that is installed does not work; 2: it can't be done, as stderr says."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    try:
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise UsageError(unknown("command", words[0], COMMANDS))
        arguments = parser.parse_args(words)
        if arguments.run is None:
            parser.print_help()
            return 0
        status = int(arguments.run(arguments))
        sys.stdout.flush()  # here, where a reader that has gone can be dealt with
    except EdgeError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `edgeai ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


# Options ---------------------------------------------------------------------------------------------------------------------


COMMANDS: Final = ("doctor", "assess", "recommend", "search")


class _Parser(argparse.ArgumentParser):
    """Its errors are ours: one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="edgeai", description="Look at this device, at a model, and at what would be made of it.")
    parser.add_argument("--version", action="version", version=f"pytest-edgeai {_version()}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    output = _Parser(add_help=False)
    output.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    here = _Parser(add_help=False)
    here.add_argument(
        "--plugin", action="append", default=[], metavar="MODULE", help="a plugin module, as a conftest would name it"
    )
    _option(here, "cache", "folder that keeps variants (default: the user's cache folder)", type=_path, metavar="DIR")

    doctor = commands.add_parser(
        "doctor",
        parents=[output, here],
        help="this device, which frameworks really run on it, and what mends the others",
    )
    doctor.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help="to try alone (default: all that are known)")
    _option(doctor, "target", "whose recipes are tried (default: auto)", default="auto", metavar="NAME")
    doctor.add_argument(
        "--timeout", type=_seconds, default=120.0, metavar="SECONDS", help="for one probe (default: 120)"
    )
    doctor.set_defaults(run=_doctor)

    assess = commands.add_parser("assess", parents=[output], help="what is known of a model before it is optimized")
    assess.add_argument("model", metavar="MODEL", help=_MODEL)
    _option(assess, "cache", "folder that keeps what a model of PyTorch was converted to", type=_path, metavar="DIR")
    assess.set_defaults(run=_assess)

    recommend = commands.add_parser(
        "recommend",
        parents=[output, here],
        help="frameworks in order of preference, what would be built and why, and what is refused and why",
    )
    recommend.add_argument("model", metavar="MODEL", help=_MODEL)
    _option(recommend, "target", "hardware that is deployed to (default: auto)", default="auto", metavar="NAME")
    _option(
        recommend,
        "dataset",
        "items to calibrate with and to score, an .npz file; of a language model texts, or lm_eval:TASK",
        type=lambda text: tasks.dataset(text, Path()),
        metavar="FILE",
    )
    _option(recommend, "prefer-route", "rapid or production (default: target)", default="target", metavar="ROUTE")
    wanted = (
        "requirements, separated by commas: cross-platform, enterprise, mobile, real-time, model-diversity, ease-of-use"
    )
    _option(recommend, "require", wanted, metavar="NAMES")
    _option(recommend, "stand-in", "let this device stand in for the target's", action="store_true")
    recommend.set_defaults(run=_recommend)
    _add_search(commands, [output, here])
    return parser


def _add_search(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    search = commands.add_parser(
        "search",
        parents=parents,
        help="the best variant of a model: recipes, pruned and tuned, are built and measured, the most promising ones closely",
    )
    search.add_argument(
        "model", metavar="MODEL", help="an .onnx or .gguf file, or a folder as Hugging Face saves models"
    )
    _option(search, "target", "hardware that is deployed to (default: auto)", default="auto", metavar="NAME")
    _option(
        search,
        "dataset",
        "items to calibrate with and to score, an .npz file; of a language model texts, or lm_eval:TASK",
        type=lambda text: tasks.dataset(text, Path()),
        metavar="FILE",
    )
    search.add_argument("--trials", type=_count, default=40, metavar="N", help="to try at most, in all (default: 40)")
    search.add_argument(
        "--budget", type=_seconds, default=300.0, metavar="SECONDS", help="for all of it (default: 300)"
    )
    _option(
        search,
        "prefer",
        "what to be best in: latency=3,accuracy=2,memory=1 (default: the knee point)",
        metavar="WEIGHTS",
    )
    _option(search, "limit", "limits in place of the target's: 'speedup=1.5 package=20MB'", metavar="LIMITS")
    _option(search, "recipe", "only recipes whose name matches one of these globs", metavar="GLOBS")
    _option(search, "shape", "sizes of dynamic axes where there is no dataset: seq=128", metavar="AXIS=SIZE")
    _option(search, "score", "how an item is scored (default: auto)", default="auto", metavar="NAME")
    _option(search, "stand-in", "let this device stand in for the target's", action="store_true")
    _option(search, "report", "folder for a report (default: none is written)", metavar="DIR", type=_path)
    search.add_argument(
        "--storage",
        default="",
        metavar="URL",
        help="where trials are kept, so that a search goes on and machines share one: sqlite:///FILE, postgresql+psycopg://..., FILE.log (default: in the cache)",
    )
    search.add_argument("--seed", type=int, default=0, metavar="N", help="of the sampler (default: 0)")
    search.set_defaults(run=_search)


def _option(parser: argparse.ArgumentParser, name: str, text: str, **how: Any) -> None:
    """An option that the plugin has too; under the plugin's name it is taken as well, because sentences say it so."""
    parser.add_argument(f"--{name}", help=text, **how)
    how["default"] = argparse.SUPPRESS
    parser.add_argument(f"--edge-{name}", dest=name.replace("-", "_"), help=argparse.SUPPRESS, **how)


def _path(text: str) -> str:
    return str(Path(text).absolute())


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds


# Commands --------------------------------------------------------------------------------------------------------------------


def _doctor(arguments: argparse.Namespace) -> int:
    from pytest_edgeai import device, folders, registry
    from pytest_edgeai.doctor import checkup
    from pytest_edgeai.measure.process import run_task

    here, found = device.detect(), registry.find(_importable(arguments.plugin))
    auto = arguments.target == "auto"
    target = device.most_specific(here, found.targets.values()) if auto else found.target(arguments.target)
    tried = {name: found.framework(name) for name in arguments.frameworks} or found.frameworks
    found = dataclasses.replace(found, frameworks=tried)
    cache = Path(arguments.cache) if arguments.cache else folders.cache()
    progress = _say if sys.stderr.isatty() else _keep_quiet
    seen = checkup.check_up(found, here, target, cache, run_task, _say, progress, arguments.timeout)
    _print(seen, arguments, _doctor_rows)
    return 0 if seen.works else 1


def _assess(arguments: argparse.Namespace) -> int:
    from pytest_edgeai import assess
    from pytest_edgeai.assess import files
    from pytest_edgeai.measure.process import run_task
    from pytest_edgeai.settings import Settings

    path, conversion = Path(arguments.model), None
    with contextlib.ExitStack() as until:
        if files.origin_of(path) is not None:
            run = until.enter_context(_run(Settings(cache=arguments.cache), []))
            path, conversion = run.workshop.onnx_of(path)
        model = assess.digest_model(path)
        found = assess.assess(model, run_task)
    told = {
        "schema": SCHEMA,
        "tool": _version(),
        "model": model,
        "conversion": conversion,
        "assessment": found,
        "modalities": found.modalities,
    }
    _print(told, arguments, lambda told: _assess_rows(Path(arguments.model).name, told))
    return 0


def _recommend(arguments: argparse.Namespace) -> int:
    from pytest_edgeai import guidance, registry
    from pytest_edgeai.pipeline import Declaration
    from pytest_edgeai.settings import Settings

    if arguments.prefer_route not in guidance.ROUTES:
        raise UsageError(unknown("route", arguments.prefer_route, guidance.ROUTES))
    settings = Settings(
        target=arguments.target,
        prefer_route=arguments.prefer_route,
        require=arguments.require,
        stand_in=arguments.stand_in,
        cache=arguments.cache,
    )
    with _run(settings, _importable(arguments.plugin)) as run:
        study = run.study(Declaration(Path(arguments.model), arguments.dataset, settings.score))
        plan = study.plan
        advice = {
            "schema": SCHEMA,
            "tool": _version(),
            "plan": plan,
            "target": run.target,
            "device": run.device,
            "standing": run.standing,
            "conversion": study.conversion,
            "assessment": study.assessment,
            "frameworks": {
                preference.framework: _presence(run.registry, preference.framework, registry.versions)
                for preference in plan.preferences
            },
            "not_measured": run.why_not_measured(),
            "next": _next(arguments, run.target.name, bool(plan.offers), study.assessment.language is not None),
        }
    _print(advice, arguments, lambda advice: _recommend_rows(advice, run.here))
    return 0


def _search(arguments: argparse.Namespace) -> int:
    from pytest_edgeai import report, results, searching
    from pytest_edgeai.pipeline import Declaration
    from pytest_edgeai.search import without_password
    from pytest_edgeai.settings import Settings

    started = dt.datetime.now(dt.UTC)
    settings = Settings(
        target=arguments.target,
        model=_path(arguments.model),
        dataset=str(arguments.dataset) if arguments.dataset else None,
        shape=arguments.shape,
        score=arguments.score,
        recipe=arguments.recipe,
        stand_in=arguments.stand_in,
        limit=arguments.limit,
        prefer=arguments.prefer,
        cache=arguments.cache,
        search_trials=arguments.trials,
        search_budget=arguments.budget,
        **({"report": arguments.report} if arguments.report else {}),
    )
    with _run(settings, _importable(arguments.plugin)) as run:
        study = run.study(Declaration(Path(arguments.model), arguments.dataset, settings.score))
        found = searching.search_for(study, arguments.trials, arguments.budget, arguments.storage, arguments.seed)
        page = None
        if arguments.report:
            gathered = results.gather(
                run.folder,
                settings=settings,
                registry_=run.registry,
                target=run.target,
                device=run.device,
                standing=run.standing,
                started=started,
                command=shlex.join(["edgeai", *map(without_password, sys.argv[1:])]),
            )
            try:
                page = report.write(gathered, Path(arguments.report))
            except OSError as error:
                raise UsageError(
                    f"The report can't be written to {arguments.report}: {error.strerror or error}. Choose another folder with --report."
                ) from error
        words = ["pytest", "--pyargs", "pytest_edgeai.suites", f"--edge-model={arguments.model}"]
        words += [f"--edge-target={run.target.name}", f"--edge-recipe={found.choice.recipe}"]
        words += [f"--edge-dataset={arguments.dataset}"] if arguments.dataset else []
        words += [f"--edge-limit={arguments.limit}"] if arguments.limit else []
        words += [f"--edge-shape={arguments.shape}"] if arguments.shape else []
        words += [f"--edge-score={arguments.score}"] if arguments.score != "auto" else []
        words += ["--edge-stand-in"] if arguments.stand_in else []
        told = {
            "schema": SCHEMA,
            "tool": _version(),
            "model": study.model,
            "target": study.target,
            "device": run.device,
            "standing": run.standing,
            "not_measured": run.why_not_measured(),
            "search": found,
            "report": str(page) if page else None,
            "next": [shlex.join(words)],
        }
    _print(told, arguments, lambda told: _search_rows(told, run.here))
    return 0


@contextlib.contextmanager
def _run(settings: "Settings", plugins: list[str]) -> "Iterator[Run]":
    """As pytest's, with a folder that is gone afterwards."""
    from pytest_edgeai.pipeline import Run
    from pytest_edgeai.progress import Progress

    with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as folder:
        yield Run(settings, plugins, Path(folder), "edgeai", Progress(_say))


def _importable(plugins: list[str]) -> list[str]:
    """Their names; found from the working folder, too, as they are by a conftest that lies in it."""
    if plugins and "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return plugins


def _presence(found: "Registry", name: str, versions: Callable[[Any], dict[str, str] | None]) -> str:
    from pytest_edgeai import registry

    if name not in found.frameworks:
        return "no plugin brings it here"
    there = versions(found.frameworks[name])
    if there is None:
        return f"not installed: {registry.installed_by(found.frameworks[name])}"
    return ", ".join(f"{distribution} {version}" for distribution, version in there.items())


def _next(arguments: argparse.Namespace, target: str, something: bool, of_language: bool) -> list[str]:
    if not something:
        return ["edgeai doctor", "edgeai recommend " + shlex.quote(arguments.model) + " --target cross"]
    words = ["pytest", "--pyargs", "pytest_edgeai.suites", f"--edge-model={arguments.model}", f"--edge-target={target}"]
    placeholder = "TEXT_OR_JSONL" if of_language else "ITEMS.npz"
    words.append(f"--edge-dataset={arguments.dataset or placeholder}")
    words += [f"--edge-prefer-route={arguments.prefer_route}"] if arguments.prefer_route != "target" else []
    words += [f"--edge-require={arguments.require}"] if arguments.require else []
    words += ["--edge-stand-in"] if arguments.stand_in else []
    return [shlex.join(words)]


# Texts -----------------------------------------------------------------------------------------------------------------------


def _doctor_rows(seen: "CheckUp") -> Iterator[Row]:
    from pytest_edgeai.units import show

    here = seen.device
    yield "This device", ""
    yield here.name, f"{here.cpu or 'CPU of no name'}, {here.system} {here.architecture}"
    yield "cores", f"{here.cores} usable; {show(here.memory_bytes, 'bytes')} of memory"
    yield "instructions", ", ".join(here.features) or "none that is known"
    yield "accelerators", ", ".join(here.accelerators) or "none beside the CPU"
    for name, fact in here.environment.items():
        if name not in _CHECKED:
            yield name.replace("_", " "), fact
    for standing, label in (("native", "is of"), ("stand-in", "may stand in for")):
        names = [name for name, what in seen.standings.items() if what == standing]
        yield (
            label,
            f"{', '.join(names) or 'none'}{' (with --edge-stand-in)' if names and standing == 'stand-in' else ''}",
        )
    yield "", ""
    yield "Frameworks", ""
    for engine in seen.engines:
        yield engine.state, _engine(engine)
        yield from _mended(engine.mend)
        for trial in engine.trials:
            what = "language model, " if trial.kind == "huggingface" else ""
            yield "", f"{what}{trial.recipe.removeprefix(engine.name + '-')} {_trial(trial)}"
            yield from _mended(trial.mend)
        if engine.state == "works" and not engine.trials:
            yield "", "it has no recipe for a model that the doctor has, so nothing was run"
    yield "", ""
    yield "What measuring depends on", ""
    for check in seen.checks:
        yield check.state, f"{check.name}: {check.text}"
        yield from _mended(check.mend)


def _engine(engine: "Engine") -> str:
    versions = ", ".join(f"{name} {version}" for name, version in engine.versions.items())
    listed = f"lists {', '.join(device.name for device in engine.devices)}" if engine.devices else ""
    told = "; ".join(part for part in (versions, listed, engine.problem) if part)
    return told if versions.startswith(f"{engine.name} ") else f"{engine.name}: {told}"


def _trial(trial: "RecipeTrial") -> str:
    from pytest_edgeai.units import show

    if trial.error is not None and trial.seconds is not None:
        used = [trial.placement[name] for name in ("device", "precision") if name in trial.placement]
        return f"works, {100 * trial.error:.2g} % off, in {show(trial.seconds, 's')}" + (
            f" ({', '.join(used)})" if used else ""
        )
    return f"is refused: {trial.problem}" if trial.state == "refused" else f"fails: {trial.problem}"


def _mended(text: str) -> Iterator[Row]:
    if text:
        yield "", f"mend: {text}"


def _assess_rows(name: str, told: dict[str, Any]) -> Iterator[Row]:
    from pytest_edgeai.report.facts import conversion_fact, count, language_facts
    from pytest_edgeai.units import show

    found: Assessment = told["assessment"]
    yield name, ""
    if told["conversion"] is not None:
        yield "converted from", conversion_fact(told["conversion"])
    yield "size", f"{show(found.bytes, 'bytes')}, SHA-256 {found.digest[:16]}..."
    yield "parameters", f"{count(found.parameters)} ({', '.join(found.weight_dtypes) or 'no weights'})"
    if found.language is not None:
        yield from language_facts(found.language)
    else:
        yield (
            "work",
            f"{count(found.macs)} multiply-accumulates a call"
            if found.macs is not None
            else "not known from its shapes",
        )
        made = f", made by {found.producer}" if found.producer else ""
        yield "architecture", f"{found.architecture}, opset {found.opset}{made}"
    yield "modalities", ", ".join(told["modalities"])
    if found.ops:
        yield "operators", ", ".join(f"{count} {name}" for name, count in found.ops.items())
    if found.language is None:
        for label, specs in (("inputs", found.inputs), ("outputs", found.outputs)):
            for spec in specs:
                yield label, f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]"
                label = ""  # noqa: PLW2901 - said once
        yield "dynamic axes", ", ".join(found.dynamic_axes) or "none"
    yield "", ""
    yield "Precisions", ""
    for precision, verdict in found.precisions.items():
        yield precision, f"{'yes' if verdict.possible else 'no'}: {verdict.reason}"


def _recommend_rows(advice: dict[str, Any], here: str) -> Iterator[Row]:
    from pytest_edgeai.guidance import COURSE, OURS
    from pytest_edgeai.report.facts import conversion_fact
    from pytest_edgeai.strategy import refusals

    sources = {COURSE: "course", OURS: "ours"}
    plan: Plan = advice["plan"]
    target: Target = advice["target"]
    of_language = advice["assessment"].language is not None
    yield f"{plan.model} for {target.name} ({target.title})", ""
    if advice["conversion"] is not None:
        yield "converted", conversion_fact(advice["conversion"])
    yield "device", f"{here}: {advice['device'].cpu}"
    for remark in target.remarks:
        yield "remark", remark
    if advice["not_measured"] and plan.offers:
        quality = "quality" if of_language else "accuracy"
        yield "note", f"only {quality} and size can be decided here: {advice['not_measured']}"
        yield "note", "what is said of the CPU below is said of this one, where variants are built and scored"
    yield "", ""
    yield "Frameworks, in order of preference", ""
    before: tuple[Citation, ...] = ()
    fit = [preference for preference in plan.preferences if not preference.unfit]
    for place, preference in enumerate(fit, 1):
        yield str(place), f"{preference.framework} ({advice['frameworks'][preference.framework]})"
        if preference.citations == before:
            yield "", "by the same rule"
        else:
            for citation in preference.citations:
                yield "", f"{citation.rule}; because {citation.fact} [{sources.get(citation.source, citation.source)}]"
        before = preference.citations
    for preference in plan.preferences:
        if preference.unfit:
            yield "-", f"{preference.framework}: {preference.unfit}"
    cited = {citation.source for preference in plan.preferences for citation in preference.citations}
    yield "", "; ".join(f"[{sources[source]}] is {source}" for source in sources if source in cited)
    yield "", ""
    yield "Plan", ""
    if of_language:
        told = "the unoptimized model, which quality is compared with; speed and memory with that of the same engine"
        yield "reference", f"{plan.baseline.name}: {told}"
    else:
        yield "baseline", f"{plan.baseline.name}: the unoptimized model"
    for offer in plan.offers:
        yield "build", f"{offer.recipe.name}: {offer.reason}"
    if not plan.offers:
        yield "build", "nothing: every recipe is refused, so gates on variants are UNSUPPORTED"
    for reason, recipes in refusals(plan):
        yield "refuse", f"{', '.join(recipes)}: {reason}"
    yield "", ""
    yield f"Limits of {target.name}", ""
    yield from _limits(target.limits)
    yield "", ""
    yield "Next", ""
    for command in advice["next"]:
        yield "$", command


def _search_rows(told: dict[str, Any], here: str) -> Iterator[Row]:
    from pytest_edgeai.units import show

    found: Search = told["search"]
    choice, by_name = found.choice, {trial.name: trial for trial in found.trials}
    count = collections.Counter(trial.state for trial in found.trials)
    yield f"{told['model'].name} for {told['target'].name} ({told['target'].title})", ""
    yield "device", here
    if told["not_measured"]:
        yield "note", f"only accuracy and size can be decided here: {told['not_measured']}"
    states = ", ".join(f"{number} {state}" for state, number in count.items())
    again = f", {found.resumed} of them by an earlier search" if found.resumed else ""
    yield "tried", f"{len(found.trials)} of {found.points} recipes ({states}){again}; it ended with {found.stopped}"
    busy = sum(seconds for what, seconds in found.seconds.items() if what != "total")
    parts = ", ".join(f"{what} {show(seconds, 's')}" for what, seconds in found.seconds.items() if what != "total")
    yield "time", f"{show(found.seconds['total'], 's')}, {busy / found.seconds['total']:.0%} of it in {parts}"
    yield "kept in", found.storage
    yield "", ""
    yield ("Best" if choice.meets_limits else "Nothing meets the limits; the nearest"), ""
    yield choice.recipe, choice.reason
    for sentence in choice.breaks:
        yield "", f"it {sentence}"
    if choice.second:
        second = next(one for one in choice.ranking if one.recipe == choice.second)
        yield "second", choice.second
        for sentence in (*choice.changes, *(f"it {broken}" for broken in second.breaks)):
            yield "", sentence
    yield "", ""
    yield "Pareto front", ""
    unproven = {one.recipe: one for one in found.front.undecided}
    for name in found.front.members:
        figures = found.closely.get(name) or by_name[name].figures
        shown = [show(figures[one].estimate, figures[one].unit) for one in found.front.objectives if one in figures]
        open_ = f"; perhaps beaten by {unproven[name].by}" if name in unproven else ""
        yield name, f"{', '.join(shown)}{open_}"
    yield "", f"({', '.join(found.front.objectives)})"
    yield "", ""
    if any(trial.state in ("refused", "failed") for trial in found.trials):
        yield "Not built", ""
        for trial in found.trials:
            if trial.state in ("refused", "failed"):
                yield trial.name, f"{trial.state}: {trial.evidence}"
        yield "", ""
    if told["report"]:
        yield "Report", ""
        yield "page", told["report"]
        yield "", ""
    yield "Next", ""
    for command in told["next"]:
        yield "$", command


def _limits(limits: "Limits") -> Iterator[Row]:
    from pytest_edgeai.units import show

    yield "accuracy", f"at least {show(limits.accuracy_kept, 'proportion')} of the reference's"
    yield "speed", f"at least {show(limits.speedup, 'x')} the baseline's"
    yield "memory", f"at most {show(limits.footprint, 'proportion')} of the baseline's own"
    yield "perplexity", f"of a language model, at most {show(limits.perplexity, 'x')} the reference's"
    yield "divergence", f"of a language model, at most {show(limits.kl_divergence, 'nats')} from the reference"
    rows = {
        "first token": (limits.ttft, "s"),
        "package": (limits.package, "bytes"),
        "peak memory": (limits.memory_bytes, "bytes"),
        "power": (limits.power_watts, "W"),
    }
    for label, (value, unit) in rows.items():
        if value is not None:
            yield label, f"at most {show(value, unit)}"
    yield "network", "none when it runs" if limits.offline else "no limit"


# Printing --------------------------------------------------------------------------------------------------------------------


def _print(found: Any, arguments: argparse.Namespace, rows: Callable[[Any], Iterable[Row]]) -> None:
    if arguments.json:
        import json

        import msgspec

        print(json.dumps(msgspec.to_builtins(found), indent=2))  # noqa: T201 - a command's output
        return
    width = min(shutil.get_terminal_size((80, 24)).columns, WIDEST)
    colored = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    for line in _laid_out(list(rows(found)), width, colored):
        print(_safe(line, sys.stdout))  # noqa: T201 - a command's output


def _laid_out(rows: list[Row], width: int, colored: bool) -> Iterator[str]:
    from pytest_edgeai.report.text import plain

    space = 0
    for place, (label, text) in enumerate(rows):
        if not text:
            yield f"\033[1m{plain(label)}\033[0m" if colored and label else plain(label)
            section = itertools.takewhile(lambda row: row[1], rows[place + 1 :])
            space = max((len(plain(row[0])) for row in section), default=0)
            continue
        indent = " " * (space + 4)
        start = f"  {plain(label).ljust(space)}  "
        if label == "$":  # a command to copy
            yield start + plain(text)
            continue
        color = _COLORS.get(label) if colored else None
        lines = textwrap.wrap(plain(text), max(width - len(indent), 20), break_on_hyphens=False, break_long_words=False)
        yield (f"  \033[{color}m{label.ljust(space)}\033[0m  " if color else start) + lines[0]
        yield from (indent + line for line in lines[1:])


def _say(text: str) -> None:
    from pytest_edgeai.report.text import plain

    for line in f"edgeai: {text}".splitlines():
        print(_safe(plain(line), sys.stderr), file=sys.stderr)  # noqa: T201 - a command's output


def _keep_quiet(text: str) -> None:
    """Nobody watches."""


def _safe(line: str, stream: TextIO) -> str:
    from pytest_edgeai.report.text import ascii_of

    return line if _encodable(line, stream) else ascii_of(line)


def _encodable(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("pytest-edgeai")


if __name__ == "__main__":
    sys.exit(main())
