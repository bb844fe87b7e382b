"""Strategy: which recipes are worth building for a model, a target and a device; each with its reason, each refusal with its sentence."""

import difflib
import fnmatch
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, get_args

import msgspec

from pytest_edgeai import device as devices
from pytest_edgeai import guidance, pruning, registry
from pytest_edgeai.errors import ModelError, UsageError, unknown
from pytest_edgeai.language.checkpoint import no_tokenizer
from pytest_edgeai.protocols import Framework
from pytest_edgeai.records import (
    Assessment,
    Citation,
    Device,
    ModelKind,
    Offer,
    Plan,
    Recipe,
    Refusal,
    Target,
)

SECONDS_TO_BUILD = 8
SECONDS_TO_SCREEN = 6
"""For one variant of the sample model on two cores; what ``--edge-plan`` estimates with."""


LANGUAGE_KINDS: Final[tuple[ModelKind, ...]] = ("huggingface", "gguf")
"""Kinds of model that are language models."""
_KINDS: Final[tuple[ModelKind, ...]] = get_args(ModelKind)
EXTRAS: Final[Mapping[ModelKind, str]] = {"onnx": "onnxruntime", "huggingface": "openvino", "gguf": "llamacpp"}
"""Kind of model -> what to install for its baseline."""
REFERENCES: Final[Mapping[ModelKind, str]] = {"onnx": "onnxruntime", "huggingface": "openvino"}
"""Kind of model -> the engine whose unoptimized model comes first as the baseline of all, and as the reference of quality."""
WHOLE_NUMBERS = ("threads", "batch")
HINTS = ("latency", "throughput")
GRAPHS = ("none", "basic", "extended", "all")
KEYS = ("batch", "device", "graph", "hint", "precision", "threads")
"""What a recipe can be tuned by; which of them an engine has is its own business."""


def catalogue(
    frameworks: Iterable[Framework], target: Target, kind: ModelKind, wanted: str | None = None
) -> list[Recipe]:
    """Every recipe that could be asked for, in the target's order of preference: pure, and the same on every machine.

    ``wanted`` is a list of ``GLOB[-prunedPERCENT][@key=value,...]``, separated by spaces; a glob is matched with the recipes' names, and with the
    baseline's, too, where it is pruned or tuned. Raises UsageError where one matches nothing or can't be read.
    """
    engines = list(frameworks)
    offered = [recipe for engine in engines for recipe in registry.ask_for_recipes(engine, "catalogue", target, kind)]
    parts = (wanted or "").split()
    chosen = [] if parts else offered
    for part in parts:
        untuned, at, tuned = part.partition("@")
        glob, sparsity = _sparsity(part, untuned)
        changed = sparsity or at
        baselines = [recipe for engine in engines for recipe in registry.ask_for_recipes(engine, "baseline", kind)]
        known = {recipe.name: recipe for recipe in (*offered, *(baselines if changed else ()))}
        matching = [recipe for name, recipe in known.items() if fnmatch.fnmatchcase(name, glob)]
        if not matching and not _any_matches(_offered(engines, [target]), glob):
            apart = " Names are separated by blanks, not by commas." if "," in glob else ""
            raise UsageError(f"No recipe's name matches --edge-recipe {part}.{apart}{_meant(glob, known)}")
        tuning = _tuning(part, tuned) if at else {}
        chosen = [*chosen, *(msgspec.structs.replace(one, sparsity=sparsity, tuning=tuning) for one in matching)]
    distinct = [recipe for place, recipe in enumerate(chosen) if recipe not in chosen[:place]]
    return sorted(distinct, key=lambda recipe: (rank(target, recipe.framework, kind), recipe.name))


def demand_known(globs: Iterable[str], frameworks: Iterable[Framework], targets: Iterable[Target], where: str) -> None:
    """Raises UsageError for a glob (without its pruning and tuning) that matches no recipe's name, for no kind of model and no target."""
    wanted = list(dict.fromkeys(_sparsity(glob, glob.partition("@")[0])[0] for glob in globs))
    if not wanted:
        return
    engines = list(frameworks)
    baselines = {one.name for kind in _KINDS for e in engines for one in registry.ask_for_recipes(e, "baseline", kind)}
    known = baselines | _offered(engines, targets)
    for glob in wanted:
        if not _any_matches(known, glob):
            raise UsageError(f"No recipe's name matches '{glob}' (edge_recipe of {where}).{_meant(glob, known)}")


def _any_matches(names: Iterable[str], glob: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for name in names)


def _offered(engines: Sequence[Framework], targets: Iterable[Target]) -> set[str]:
    """Names of the recipes for any kind of model: a run may have models of several."""
    return {
        recipe.name
        for target in targets
        for kind in _KINDS
        for engine in engines
        for recipe in registry.ask_for_recipes(engine, "catalogue", target, kind)
    }


def _sparsity(part: str, name: str) -> tuple[str, float]:
    """``openvino-int8-pruned20`` as the name and the share. Raises UsageError."""
    found = re.fullmatch(r"(.+)-pruned([^-]*)", name)
    if found is None:
        return name, 0.0
    percent = int(found[2]) if re.fullmatch(r"[0-9]{1,3}", found[2]) else 0
    if not pruning.LEAST <= percent <= pruning.MOST:
        raise UsageError(
            f"'{part}': what follows -pruned is a whole number of percent from {pruning.LEAST} to {pruning.MOST}, as in openvino-int8-pruned20."
        )
    return found[1], percent / 100


def _tuning(part: str, text: str) -> dict[str, str | int]:
    """``threads=1,hint=throughput`` as a mapping. Raises UsageError."""
    tuning: dict[str, str | int] = {}
    for setting in text.split(","):
        key, equals, value = setting.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"--edge-recipe {part}: '{setting}' is not KEY=VALUE. Write it as openvino-int8@threads=1,hint=throughput."
            )
        if key not in KEYS:
            raise UsageError(f"--edge-recipe {part}: {unknown('tuning', key, KEYS)}")
        if key in tuning:
            raise UsageError(f"--edge-recipe {part}: '{key}' is there twice.")
        if key in WHOLE_NUMBERS and not (value.isascii() and value.isdigit() and int(value) > 0):
            raise UsageError(f"--edge-recipe {part}: {key} is a number of at least 1, not '{value}'.")
        if key == "hint" and value not in HINTS:
            raise UsageError(f"--edge-recipe {part}: {unknown('hint', value, HINTS)}")
        if key == "graph" and value not in GRAPHS:
            raise UsageError(f"--edge-recipe {part}: {unknown('graph optimization level', value, GRAPHS)}")
        tuning[key] = int(value) if key in WHOLE_NUMBERS else value
    return dict(sorted(tuning.items()))  # one name for one recipe


def _meant(glob: str, names: Iterable[str]) -> str:
    """A guess at the name that was meant, and the names that there are."""
    known = sorted(names)
    close = difflib.get_close_matches(glob.lower(), known, n=1, cutoff=0.5)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"{guess} Known: {', '.join(known) or 'none'}."


def rank(target: Target, framework: str, kind: ModelKind) -> int:
    """The framework's place in the target's order of preference; those that the order doesn't name come last."""
    order = target.language_frameworks if kind in LANGUAGE_KINDS else ()
    order = (*order, *(name for name in target.frameworks if name not in order))
    return order.index(framework) if framework in order else len(order)


def baselines_of(frameworks: Iterable[Framework], kind: ModelKind) -> dict[str, Recipe]:
    """Framework -> the recipe of the unoptimized model in it, of the engines whose variants are compared with their own: those of language models.

    Engines of tensor models run one and the same model, so one baseline serves all.
    """
    if kind not in LANGUAGE_KINDS:
        return {}
    found = {one.name: registry.ask_for_recipes(one, "baseline", kind) for one in frameworks}
    return {name: recipes[0] for name, recipes in found.items() if recipes}


def baseline_of(
    frameworks: Iterable[Framework], target: Target, kind: ModelKind, answers: Callable[[str], bool] = bool
) -> Recipe:
    """The recipe of the unoptimized model at source precision, of the first framework in question that ``answers``.

    ONNX Runtime is the engine that every ONNX model is made for. Of a language model it is the one that computes most exactly, for it is also
    what the others are compared with.
    """
    found = [recipe for one in frameworks for recipe in registry.ask_for_recipes(one, "baseline", kind)]

    def place(recipe: Recipe) -> tuple[bool, bool, int, str]:
        exact = kind in LANGUAGE_KINDS and recipe.precision != "fp32"
        return exact, recipe.framework != REFERENCES.get(kind), rank(target, recipe.framework, kind), recipe.name

    for recipe in sorted(found, key=place):
        if answers(recipe.framework):
            return recipe
    raise UsageError(
        f"No framework that is installed runs an unoptimized {kind} model, so there is no baseline to compare with: "
        f"pip install 'pytest-edgeai[{EXTRAS[kind]}]', or see `edgeai doctor`."
    )


def plan(
    recipes: Sequence[Recipe],
    baseline: Recipe,
    frameworks: dict[str, Framework],
    installed: set[str],
    assessment: Assessment,
    target: Target,
    device: Device,
    model: str,
    calibration_items: int,
    route: str = "target",
    required: Sequence[str] = (),
    kind: ModelKind = "onnx",
    baselines: Mapping[str, Recipe] | None = None,
) -> Plan:
    """What will be built and why, and what is refused and why, in order of preference between frameworks.

    ``route`` and ``required``: the user's wishes, see :func:`pytest_edgeai.guidance.order`. A plan without offers is legal. Raises ModelError for a
    language model without a tokenizer, which every engine needs.
    """
    if kind == "huggingface" and assessment.language is not None and not assessment.language.tokenizer:
        raise ModelError(no_tokenizer(model))
    facts = guidance.Facts(kind=kind, modalities=assessment.modalities, parameters=assessment.parameters)
    # A form for other hardware than the target's has no recipe here, and no place in the order.
    asked = {recipe.framework for recipe in recipes}
    known = [name for name in frameworks if name in asked or name not in guidance.FORMS]
    preferences = guidance.order(facts, target, _here(device, target), known, route, required)
    places = {preference.framework: place for place, preference in enumerate(preferences)}
    offers, refused = [], []
    for recipe in sorted(recipes, key=lambda recipe: places[recipe.framework]):
        framework = frameworks[recipe.framework]
        refusal = refusal_of(recipe, framework, installed, assessment, target, device, calibration_items, kind)
        if refusal is None:
            reason = registry.ask(framework, "reason", recipe, assessment, device)
            if recipe.sparsity:
                reason += f" Before that, {recipe.pruned_percent} % of each layer's weights, the smallest, become zero."
            offers.append(
                Offer(recipe=recipe, reason=reason, citations=preferences[places[recipe.framework]].citations)
            )
        else:
            refused.append(Refusal(recipe=recipe.name, reason=refusal))
    offered = {offer.recipe.framework for offer in offers}
    return Plan(
        model=model,
        target=target.name,
        baseline=baseline,
        baselines={name: recipe for name, recipe in (baselines or {}).items() if name in offered},
        offers=tuple(offers),
        refusals=tuple(refused),
        preferences=preferences,
    )


def refusal_of(
    recipe: Recipe,
    framework: Framework,
    installed: Collection[str],
    assessment: Assessment,
    target: Target,
    device: Device,
    calibration_items: int,
    kind: ModelKind,
) -> str | None:
    """Why a recipe won't be built, in a sentence; ``None`` where it will be."""
    if recipe.framework in target.refuses:
        return target.refuses[recipe.framework]
    if recipe.framework not in installed:
        what = registry.installed_by(framework)
        return f"{recipe.framework} is not installed here, or does not start ({what}; `edgeai doctor` tells)."
    if recipe.tuning and not getattr(framework, "tunes", False):
        return f"{recipe.framework} can't be tuned: ask for it without @{recipe.name.partition('@')[2]}."
    if recipe.calibrated and calibration_items == 0:
        return "It needs calibration items, and there are none: give a dataset, or a larger one, with --edge-dataset (made-up inputs would calibrate nothing)."
    refusal = pruning.refusal(recipe, kind, assessment)
    if refusal is not None:
        return refusal
    answer: str | None = registry.ask(framework, "refusal", recipe, assessment, device)
    return answer


def refusals(plan: Plan) -> list[tuple[str, list[str]]]:
    """Each reason with the recipes that are refused for it, in the plan's order."""
    found: dict[str, list[str]] = {}
    for refusal in plan.refusals:
        found.setdefault(refusal.reason, []).append(refusal.recipe)
    return list(found.items())


def nothing(plan: Plan) -> str:
    """Why no variant is made, in a sentence, for a plan without offers."""
    told = "; ".join(f"{', '.join(recipes)}: {reason.rstrip('.')}" for reason, recipes in refusals(plan))
    asked = "no framework that is registered has a recipe for it, or none has a name that was asked for"
    return f"No recipe is offered for {plan.model} on {plan.target}: {told or asked}."


def _here(device: Device, target: Target) -> str:
    """What the device is to the target, as a clause."""
    wanted = tuple(prefix.casefold() for prefix in target.hardware.accelerators)
    found = [name for name in device.accelerators if name.casefold().startswith(wanted)] if wanted else []
    this = ", ".join(found) or f"{device.cpu or device.architecture}, {device.system} {device.architecture}"
    told = {
        "native": "this device is of it",
        "stand-in": "this device has its instruction set, but is not of it",
        "foreign": "this device is not of it",
    }
    return f"{told[devices.standing(device, target)]} ({this})"


def lines(plan: Plan, target: Target, here: str, why_not_measured: str | None, converted: str = "") -> list[str]:
    """The plan for people. ``why_not_measured``: why this device can't show speed and memory, if it can't; ``converted``: from what, if it was."""
    text = [f"{plan.model} for {target.name} ({target.title}) on {here}"]
    text += [f"  converted {converted}"] if converted else []
    text += [f"  {remark}" for remark in target.remarks]
    if why_not_measured and plan.offers:
        text.append(f"  only accuracy and size can be decided: {why_not_measured}")
        text.append("  what is said of the CPU below is said of this one, where variants are built and scored")
    fit = [preference for preference in plan.preferences if not preference.unfit]
    # One line for those that the same rule named for the same reason.
    text += [
        f"  prefer    {', '.join(preference.framework for preference in named)}: {_cited(citations)}"
        for citations, named in itertools.groupby(fit, key=lambda preference: preference.citations)
    ]
    text += [f"  pass over {preference.unfit}" for preference in plan.preferences if preference.unfit]
    if plan.baselines:
        text.append(f"  reference {plan.baseline.name}: the unoptimized model, which quality is compared with")
        own = ", ".join(recipe.name for recipe in plan.baselines.values())
        text.append(
            f"  baselines {own}: the unoptimized model in each engine, which its variants' speed and memory are compared with"
        )
    else:
        text.append(f"  baseline  {plan.baseline.name}: the unoptimized model")
    text += [f"  build     {offer.recipe.name}: {offer.reason}" for offer in plan.offers]
    text += (
        [] if plan.offers else ["  build     nothing: every recipe is refused, so gates on variants are UNSUPPORTED"]
    )
    text += [f"  refuse    {', '.join(recipes)}: {reason}" for reason, recipes in refusals(plan)]
    if plan.offers:
        build, screen = (
            SECONDS_TO_BUILD * len(plan.offers),
            SECONDS_TO_SCREEN * (len(plan.offers) + len(plan.unoptimized)),
        )
        text.append(
            f"  time      for a model of some 10 MB about {build} s to build what is not in the cache, and {screen} s to screen it"
        )
    return text


def _cited(citations: Iterable[Citation]) -> str:
    return "; ".join(f"{citation.rule}, because {citation.fact}" for citation in citations)
