"""Progression: the way from the unoptimized model to the variant that is shipped, stage by stage, each measured against the one before."""

import dataclasses
from collections.abc import Iterator
from typing import Final

import filelock
import msgspec

from pytest_edgeai import screening
from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.pipeline import Study, publish
from pytest_edgeai.records import Figure, Outcome, Recipe, Stage, StageName, Verdict, digest_of
from pytest_edgeai.registry import ask_for_recipes

UNQUANTIZED: Final = ("fp32", "fp16", "bf16")
"""Precisions that nothing has to be rounded for in steps, the widest first."""
FIRST_PLACE: Final = 10
"""Of these claims among those of a test: together they have a tenth of its part of the run's error rate of a false FAIL."""
_DONE: Final = "production validation"


def progression_of(study: Study, name: str, rigor: str = "quick") -> tuple[Stage, ...]:
    """The stages that led to a variant, measured once in a run by whichever process asks first. Raises EdgeError."""
    word = study.shared / f"{study.key}-{digest_of([name, rigor])[:16]}-progression.json"
    with filelock.FileLock(word.with_suffix(".lock")):
        if word.is_file():
            stages = msgspec.json.decode(word.read_bytes(), type=tuple[Stage, ...])
            for recipe in route(study, study.recipe(name)):
                study.admit(recipe)
            return stages
        stages = tuple(_stages(study, study.recipe(name), rigor))
        publish(word, msgspec.json.encode(stages))
    study.note("progression", stages)
    return stages


def route(study: Study, recipe: Recipe) -> list[Recipe]:
    """The variants on the way to this one, the baseline first and it last, each once."""
    return list({made.name: made for _, made, _ in _planned(study, recipe)}.values())


def _planned(study: Study, recipe: Recipe) -> Iterator[tuple[StageName, Recipe, str]]:
    """(stage, what it makes, what it does), without the last one, which makes nothing."""
    baseline = study.recipe(study.baseline_of(recipe.name))
    yield "baseline", baseline, "The unoptimized model."
    converted = _converted(study, recipe, baseline)
    if converted == baseline:
        yield "conversion", baseline, f"None is needed: {baseline.framework} runs the unoptimized model itself."
    else:
        yield "conversion", converted, f"The same model in {converted.framework}, in {converted.precision}."
    pruned = msgspec.structs.replace(converted, sparsity=recipe.sparsity)
    if pruned != converted:
        yield "pruning", pruned, f"{recipe.pruned_percent} % of each layer's weights, the smallest, become zero."
    untuned = msgspec.structs.replace(recipe, tuning={})
    if untuned == pruned:
        yield "quantization", pruned, f"None: the choice computes in {recipe.precision}, as it was."
    else:
        method = f" ({recipe.method})" if recipe.method else ""
        yield "quantization", untuned, f"From {pruned.precision} to {recipe.precision}{method}."
    if recipe.tuning:
        tuned = ", ".join(f"{key}={value}" for key, value in recipe.tuning.items())
        yield "hardware acceleration", recipe, f"The engine is told how to run it: {tuned}."
    else:
        tried = "no tuning that was tried beside it was better" if study.was_searched else "no tuning was asked for"
        yield "hardware acceleration", recipe, f"The engine's own choice was kept: {tried}."


def _converted(study: Study, recipe: Recipe, baseline: Recipe) -> Recipe:
    """The model in the recipe's framework without anything that costs accuracy; the baseline where the framework has no such recipe."""
    if recipe.framework == baseline.framework:
        return baseline
    framework = study.run.registry.framework(recipe.framework)
    known = ask_for_recipes(framework, "catalogue", study.run.target, study.model.kind)
    plain = [one for one in known if one.precision in UNQUANTIZED and not one.method]
    plain.sort(key=lambda one: UNQUANTIZED.index(one.precision))
    return next((one for one in plain if study.admit(one) is None), baseline)


def _stages(study: Study, recipe: Recipe, rigor: str) -> Iterator[Stage]:
    before: Recipe | None = None
    planned = list(_planned(study, recipe))
    with study.run.working("following the stages of", total=len(planned) + 1) as step:
        for name, made, text in planned:
            step(recipe.name)
            changed = before is not None and made != before
            if made != before:
                reason = study.admit(made) if before is not None else None
                if reason is not None:
                    raise UnsupportedError(f"{made.name}, a stage on the way to {recipe.name}: {reason}")
                _measure(study, made.name)
            yield Stage(
                name=name,
                recipe=made.name,
                text=text,
                changed=changed or before is None,
                before=before.name if before is not None else "",
                speedup=_over(study, made, before) if changed and before is not None else None,
                figures=dict(study.figures_of(made.name)),
            )
            before = made
        step(recipe.name)
        verdicts = tuple(_verdicts(study, recipe.name, rigor))
    yield Stage(
        name=_DONE,
        recipe=recipe.name,
        text=_told(verdicts),
        changed=False,
        before=recipe.name,
        figures=dict(study.figures_of(recipe.name)),
        verdicts=verdicts,
    )


def _measure(study: Study, name: str) -> None:
    """Whatever isn't known of the variant yet. Raises EdgeError."""
    study.variant(name)
    wanted = "tpot.p50" if study.declaration.is_language else "latency.p50"
    measurable = study.run.why_not_measured(study.recipe(name)) is None
    known = study.figures_of(name)
    if "size" in known and (wanted in known or not measurable):
        return
    baseline = study.baseline_of(name)
    if baseline != name and wanted not in study.figures_of(baseline) and measurable:
        _measure(study, baseline)
    with study.run.lock.measuring():
        study.screen_one(name, {})


def _over(study: Study, made: Recipe, before: Recipe) -> Figure | None:
    """Times as fast as the stage before; ``None`` where that can't be measured. Raises EdgeError."""
    if study.run.why_not_measured(made) is not None:
        return None
    speed = "decode.speedup" if study.declaration.is_language else "speedup"
    if before.name == study.baseline_of(made.name) and speed in study.figures_of(made.name):
        return study.figures_of(made.name)[speed]
    mine, its = study.variant(made.name), study.variant(before.name)
    phase = "decode" if study.declaration.is_language else ""
    with study.run.lock.measuring():
        found, samples = screening.ratio(mine, its, study.setup, seed=study.next_seed(), phase=phase)
    study.note("measurement", samples)
    return found


def _verdicts(study: Study, name: str, rigor: str) -> Iterator[Verdict]:
    """On each limit that the target states, decided as gates on the choice are: on items and samples that didn't choose it."""
    limits, baseline, reference = study.target.limits, study.baseline_of(name), study.plan.baseline.name
    language = study.declaration.is_language
    speed = "decode.speedup" if language else "speedup"
    wanted = [
        Claim(name, "perplexity", "<=", limits.perplexity, reference, fresh=True)
        if language
        else Claim(name, "accuracy", ">=", limits.accuracy_kept, reference, fresh=True),
        Claim(name, speed, ">=", limits.speedup, unit="x"),
        Claim(name, "memory.footprint", "<=", limits.footprint, baseline),
    ]
    wanted += [Claim(name, "kl_divergence", "<=", limits.kl_divergence, fresh=True, unit="nats")] if language else []
    numbers = (
        ("ttft.p95", limits.ttft if language else None, "s"),
        ("size", limits.package, "bytes"),
        ("memory.peak", limits.memory_bytes, "bytes"),
        ("energy.power", limits.power_watts, "W"),
    )
    wanted += [Claim(name, quantity, "<=", float(limit), unit=unit) for quantity, limit, unit in numbers if limit]
    wanted += [Claim(name, "offline", ">=", 1.0, unit="")] * limits.offline
    for place, claim in enumerate(wanted, FIRST_PLACE):
        yield study.decide(dataclasses.replace(claim, rigor=rigor, place=place))


def _told(verdicts: tuple[Verdict, ...]) -> str:
    """How many limits hold, and which do not."""
    found = {outcome: [one for one in verdicts if one.outcome is outcome] for outcome in Outcome}
    told = [f"{len(found[Outcome.PASS])} of {len(verdicts)} limits are proven to hold"]
    told += [
        f"{one.quantity} {one.outcome}" for outcome in Outcome if outcome is not Outcome.PASS for one in found[outcome]
    ]
    return f"{'; '.join(told)}."
