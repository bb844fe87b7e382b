"""Strategy: which recipes are worth building for a model, a target and a device; each with its reason, each refusal with its sentence."""

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pytest_edgeai import device as devices
from pytest_edgeai import guidance
from pytest_edgeai.errors import UsageError
from pytest_edgeai.protocols import Framework
from pytest_edgeai.records import (
    Assessment,
    Choice,
    Device,
    Figure,
    Limits,
    ModelKind,
    Offer,
    Plan,
    Preference,
    Recipe,
    Refusal,
    Target,
    TensorSpec,
)
from pytest_edgeai.units import show

SECONDS_TO_BUILD = 8
SECONDS_TO_SCREEN = 6
"""For one variant of the sample model on two cores; what ``--edge-plan`` estimates with."""


def catalogue(
    frameworks: Iterable[Framework], target: Target, kind: ModelKind, wanted: str | None = None
) -> list[Recipe]:
    """Every recipe that could be asked for, in the target's order of preference: pure, and the same on every machine.

    ``wanted`` is a glob over the recipes' names.
    """
    recipes = [recipe for framework in frameworks for recipe in framework.catalogue(target, kind)]
    chosen = [recipe for recipe in recipes if wanted is None or fnmatch.fnmatchcase(recipe.name, wanted)]
    return sorted(chosen, key=lambda recipe: (rank(target, recipe.framework), recipe.name))


def rank(target: Target, framework: str) -> int:
    """The framework's place in the target's order of preference; those that the order doesn't name come last."""
    return target.frameworks.index(framework) if framework in target.frameworks else len(target.frameworks)


def baseline_of(frameworks: Iterable[Framework], target: Target, kind: ModelKind) -> Recipe:
    """The recipe of the unoptimized model at source precision. ONNX Runtime is the engine that every ONNX model is made for."""
    found = {framework.name: recipe for framework in frameworks if (recipe := framework.baseline(kind)) is not None}
    if not found:
        raise UsageError(
            f"No framework that is installed runs an unoptimized {kind} model, so there is no baseline to compare with: "
            "pip install 'pytest-edgeai[onnxruntime]', or see `edgeai doctor`."
        )
    return found.get("onnxruntime") or found[min(found, key=lambda name: (rank(target, name), name))]


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
) -> Plan:
    """What will be built and why, and what is refused and why, in order of preference between frameworks.

    ``route`` and ``required``: the user's wishes, see :func:`pytest_edgeai.guidance.order`. A plan without offers is legal.
    """
    facts = guidance.Facts(kind=kind, modalities=modalities(assessment), parameters=assessment.parameters)
    preferences = guidance.order(facts, target, _here(device, target), frameworks, route, required)
    places = {preference.framework: place for place, preference in enumerate(preferences)}
    offers, refusals = [], []
    for recipe in sorted(recipes, key=lambda recipe: places[recipe.framework]):
        framework = frameworks[recipe.framework]
        if recipe.framework not in installed:
            distributions = " ".join(framework.distributions)
            refusal: str | None = f"{recipe.framework} is not installed here (pip install {distributions})."
        elif recipe.calibrated and calibration_items == 0:
            refusal = "It needs calibration items, and there is no dataset: give one with --edge-dataset (made-up inputs would calibrate nothing)."
        else:
            refusal = framework.refusal(recipe, assessment, device)
        if refusal is None:
            reason, citations = (
                framework.reason(recipe, assessment, device),
                preferences[places[recipe.framework]].citations,
            )
            offers.append(Offer(recipe=recipe, reason=reason, citations=citations))
        else:
            refusals.append(Refusal(recipe=recipe.name, reason=refusal))
    return Plan(
        model=model,
        target=target.name,
        baseline=baseline,
        offers=tuple(offers),
        refusals=tuple(refusals),
        preferences=preferences,
    )


def nothing(plan: Plan) -> str:
    """Why no variant is made, in a sentence, for a plan without offers."""
    told = "; ".join(dict.fromkeys(f"{refusal.recipe}: {refusal.reason.rstrip('.')}" for refusal in plan.refusals))
    asked = "no framework that is registered has a recipe for it, or none has a name that was asked for"
    return f"No recipe is offered for {plan.model} on {plan.target}: {told or asked}."


def modalities(assessment: Assessment) -> tuple[str, ...]:
    """What the model's inputs are, each kind once: ``image``, ``text``, ``audio``, ``tabular`` or ``series``, by shape, dtype and name."""
    return tuple(dict.fromkeys(map(_modality, assessment.inputs)))


_TEXT_NAMES: Final = ("input_ids", "token", "attention_mask", "position_ids")
_AUDIO_NAMES: Final = ("audio", "wave", "speech", "spectrogram", "mel")
_COLOURS: Final = (1, 3, 4)


def _modality(spec: TensorSpec) -> str:
    name = spec.name.lower()
    if any(word in name for word in _TEXT_NAMES):
        return "text"
    if any(word in name for word in _AUDIO_NAMES):
        return "audio"
    if len(spec.shape) >= 4 and any(size in _COLOURS for size in (spec.shape[-3], spec.shape[-1])):
        return "image"
    if len(spec.shape) >= 3:
        return "series"
    # Two axes of whole numbers whose second one has no size: sentences of any length.
    indefinite = len(spec.shape) == 2 and isinstance(spec.shape[1], str)
    return "text" if indefinite and spec.dtype in ("int32", "int64") else "tabular"


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


def lines(plan: Plan, target: Target, here: str, why_not_measured: str | None) -> list[str]:
    """The plan for people. ``why_not_measured``: why this device can't show speed and memory, if it can't."""
    text = [f"{plan.model} for {target.name} ({target.title}) on {here}"]
    text += [f"  {remark}" for remark in target.remarks]
    text += [f"  only accuracy and size can be decided: {why_not_measured}"] if why_not_measured else []
    text += [f"  prefer    {_cited(preference)}" for preference in plan.preferences if not preference.unfit]
    text += [f"  pass over {preference.unfit}" for preference in plan.preferences if preference.unfit]
    text.append(f"  baseline  {plan.baseline.name}: the unoptimized model")
    text += [f"  build     {offer.recipe.name}: {offer.reason}" for offer in plan.offers]
    text += (
        [] if plan.offers else ["  build     nothing: every recipe is refused, so gates on variants are UNSUPPORTED"]
    )
    text += [f"  refuse    {refusal.recipe}: {refusal.reason}" for refusal in plan.refusals]
    if plan.offers:
        build, screen = SECONDS_TO_BUILD * len(plan.offers), SECONDS_TO_SCREEN * (len(plan.offers) + 1)
        text.append(
            f"  time      for a model of some 10 MB about {build} s to build what is not in the cache, and {screen} s to screen it"
        )
    return text


def _cited(preference: Preference) -> str:
    told = "; ".join(f"{citation.rule}, because {citation.fact}" for citation in preference.citations)
    return f"{preference.framework}: {told}"


SAME_SPEED = 1.05
"""Speed-ups within this factor are equal in practice: the target's order of preference decides between them."""


def choose(
    screened: Mapping[str, Mapping[str, Figure]],
    recipes: Sequence[Recipe],
    baseline: Mapping[str, Figure],
    target: Target,
    preferences: Sequence[Preference] = (),
) -> Choice:
    """The fastest variant whose screening estimates meet the target's limits; else the nearest to them, with what it breaks.

    ``screened``: recipe name -> quantity -> figure, at least one; ``recipes`` in order of preference, and ``preferences`` what made
    that order. A limit on a quantity that was
    not measured (no data, or a device that is not of the target) can't be broken; the gates say so when they are asked.
    """
    shortfalls = {name: _shortfalls(figures, baseline, target.limits) for name, figures in screened.items()}
    meeting = [name for name in screened if not shortfalls[name]]
    order = {recipe.name: place for place, recipe in enumerate(recipes)}
    if not meeting:
        nearest = min(screened, key=lambda name: (sum(short for short, _ in shortfalls[name]), order[name]))
        breaks = tuple(sentence for _, sentence in shortfalls[nearest])
        return Choice(
            recipe=nearest,
            meets_limits=False,
            reason=f"no variant meets all limits of {target.name} in screening; this one comes nearest",
            breaks=breaks,
        )
    speeds = {name: screened[name]["speedup"].estimate for name in meeting if "speedup" in screened[name]}
    if not speeds:
        smallest = min(meeting, key=lambda name: (screened[name]["size"].estimate, order[name]))
        return Choice(
            recipe=smallest,
            meets_limits=True,
            reason="the smallest that meets the limits; speed can't be measured on this device",
        )
    best = max(speeds.values())
    equals = [name for name in speeds if speeds[name] * SAME_SPEED >= best]
    chosen = min(equals, key=lambda name: order[name])
    others = (
        f" of {len(meeting)} variants that meet the limits of {target.name}"
        if len(meeting) > 1
        else f" and alone in meeting the limits of {target.name}"
    )
    tie = _tie(chosen, [name for name in equals if name != chosen], recipes, preferences)
    return Choice(
        recipe=chosen, meets_limits=True, reason=f"the fastest ({show(speeds[chosen], 'x')} in screening){others}{tie}"
    )


def _tie(chosen: str, others: Sequence[str], recipes: Sequence[Recipe], preferences: Sequence[Preference]) -> str:
    """What put the chosen one before others that are as fast."""
    if not others:
        return ""
    frameworks = {recipe.name: recipe.framework for recipe in recipes}
    rivals = [frameworks[name] for name in others if frameworks[name] != frameworks[chosen]]
    if not rivals:
        rule = "name"
    elif not preferences:
        rule = "the target's order of preference"
    else:
        found = {preference.framework: preference for preference in preferences}
        citation = guidance.between(found[frameworks[chosen]], found[rivals[0]])
        rule = f"the rule '{citation.rule}', because {citation.fact}"
    return f", before {', '.join(others)} by {rule}"


def _shortfalls(
    figures: Mapping[str, Figure], baseline: Mapping[str, Figure], limits: Limits
) -> list[tuple[float, str]]:
    """For each broken limit, how far it is missed (ln of the ratio) and a sentence."""

    def ratio(quantity: str) -> float | None:
        if quantity not in figures or quantity not in baseline or baseline[quantity].estimate <= 0:
            return None
        return figures[quantity].estimate / baseline[quantity].estimate

    def value(quantity: str) -> float | None:
        return figures[quantity].estimate if quantity in figures else None

    at_least = (
        (
            ratio("accuracy"),
            limits.accuracy_kept,
            "keeps {} of the reference's accuracy, the limit is {}",
            "proportion",
        ),
        (value("speedup"), limits.speedup, "is {} as fast as the baseline, the limit is {}", "x"),
    )
    at_most = (
        (
            ratio("memory.footprint"),
            limits.memory,
            "takes {} of the baseline's own memory, the limit is {}",
            "proportion",
        ),
        (value("size"), limits.package, "is {} large, the limit of the package is {}", "bytes"),
        (value("memory.peak"), limits.memory_bytes, "peaks at {}, the limit is {}", "bytes"),
    )
    missed = [
        (math.log(limit / max(seen, 1e-9)), text.format(show(seen, unit), show(limit, unit)))
        for seen, limit, text, unit in at_least
        if seen is not None and seen < limit
    ]
    return missed + [
        (math.log(seen / limit), text.format(show(seen, unit), show(limit, unit)))
        for seen, limit, text, unit in at_most
        if seen is not None and limit is not None and seen > limit
    ]
