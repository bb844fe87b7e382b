"""Choosing: the variant that is recommended, from screening estimates; with the second best and what would change the choice."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pytest_edgeai import guidance, objectives
from pytest_edgeai.objectives import Objective
from pytest_edgeai.records import Candidate, Choice, Figure, Limits, Preference, Recipe, Target
from pytest_edgeai.stats import pareto
from pytest_edgeai.units import show

Screened = Mapping[str, Mapping[str, Figure]]
"""Recipe name -> quantity -> figure."""
STRETCHED: Final = 1.0
"""Gain over which an objective counts in full for the knee point: as much as the target demands. Where variants differ by less, they differ by little."""
SPEEDS: Final = ("decode.throughput", "speedup")
"""What shows that a variant's speed was measured."""


def choose(
    screened: Screened,
    recipes: Sequence[Recipe],
    baselines: Screened,
    target: Target,
    preferences: Sequence[Preference] = (),
    weights: Mapping[str, float] | None = None,
) -> Choice:
    """The best variant whose screening estimates meet the target's limits; else the nearest to them, with what it breaks.

    ``screened``: at least one variant; ``recipes`` in order of preference, and ``preferences`` what made that order; ``baselines``: recipe name ->
    what it is compared with, memory of its baseline and quality of the reference. ``weights``: objective -> share (:func:`objectives.preferences`);
    without them the best is the knee point of the Pareto front. Of variants that are equal in practice the order of preference decides. A limit
    on a quantity that was not measured (no data, or a device that is not of the target) can't be broken; the gates say so when they are asked. Where
    some are measured and others can't be, only those that are can be chosen.
    """
    speed = next((name for name in SPEEDS if any(name in figures for figures in screened.values())), None)
    if speed is not None:
        # What is measured here comes before what can't be.
        screened = {name: figures for name, figures in screened.items() if speed in figures}
    missed = {name: shortfalls(figures, baselines[name], target.limits) for name, figures in screened.items()}
    order = {recipe.name: place for place, recipe in enumerate(recipes)}
    meeting = [name for name in sorted(screened, key=order.__getitem__) if not missed[name]]
    if not meeting:
        return _nearest(missed, order, target)
    known = {name: screened[name] for name in meeting}
    compared = objectives.measured(known.values())
    gains = _gains(known, compared, baselines, target.limits)
    weighed = shares(compared, gains, weights or {})
    heard = {one.name: weighed[one.name] for one in compared if (weights or {}).get(one.name)}
    scores = {name: sum(weighed[one] * gains[name][one] for one in weighed) for name in meeting}
    best = max(scores, key=scores.__getitem__)
    alike = [name for name in meeting if objectives.are_alike(_heeded(compared, weighed), known[name], known[best])]
    chosen = alike[0]  # in order of preference
    ranking = [chosen, *sorted((name for name in meeting if name != chosen), key=lambda name: -scores[name])]
    told = f"{len(meeting)} variants that meet the limits of {target.name}"
    if len(meeting) == 1:
        reason = f"alone in meeting the limits of {target.name}{_seen(known[chosen], speed)}"
    elif heard:
        preferred = ", ".join(f"{name} {share:.0%}" for name, share in weighed.items())
        reason = f"the best of {told}{_seen(known[chosen], speed)} by {preferred}{_unheard(weights or {}, heard)}"
    else:
        reason = f"the knee point of {told}{_seen(known[chosen], speed)}: the best in {_and([one.word for one in compared])} together"
        reason += _unheard(weights or {}, heard)
    if speed is None:
        reason += "; speed can't be measured on this device"
    second = ranking[1] if len(ranking) > 1 else ""
    return Choice(
        recipe=chosen,
        meets_limits=True,
        reason=reason + _tie(chosen, [name for name in alike if name != chosen], recipes, preferences),
        weights=weighed,
        is_knee=not heard,
        ranking=tuple(Candidate(recipe=name, score=scores[name], gains=gains[name]) for name in ranking),
        second=second,
        changes=_changes(chosen, second, compared, weighed, gains, known, target.limits) if second else (),
    )


def shortfalls(
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
        (value("decode.speedup"), limits.speedup, "decodes {} as fast as the baseline, the limit is {}", "x"),
    )
    at_most = (
        (ratio("perplexity"), limits.perplexity, "has {} of the reference's perplexity, the limit is {}", "x"),
        (value("kl_divergence"), limits.kl_divergence, "diverges by {} from the reference, the limit is {}", "nats"),
        (value("ttft.p95"), limits.ttft, "takes {} to its first token (p95), the limit is {}", "s"),
        (
            ratio("memory.footprint"),
            limits.footprint,
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


def _nearest(missed: Mapping[str, list[tuple[float, str]]], order: Mapping[str, int], target: Target) -> Choice:
    distance = {name: sum(short for short, _ in broken) for name, broken in missed.items()}
    ranking = sorted(missed, key=lambda name: (distance[name], order[name]))
    candidates = [
        Candidate(recipe=name, score=-distance[name], breaks=tuple(sentence for _, sentence in missed[name]))
        for name in ranking
    ]
    return Choice(
        recipe=ranking[0],
        meets_limits=False,
        reason=f"no variant meets all limits of {target.name} in screening; this one comes nearest",
        breaks=candidates[0].breaks,
        ranking=tuple(candidates),
        second=ranking[1] if len(ranking) > 1 else "",
    )


def _gains(
    known: Screened, compared: Sequence[Objective], baselines: Screened, limits: Limits
) -> dict[str, dict[str, float]]:
    """Of each variant in each objective. Where the baselines differ the first one's is the origin for all: differences are what counts."""
    first = next(iter(known))

    def origin(objective: Objective) -> float:
        if objective.quantity == "speedup":
            return 1.0
        found = baselines[first].get(objective.quantity, known[first][objective.quantity])
        return found.estimate

    origins = {objective.name: origin(objective) for objective in compared}
    return {
        name: {
            one.name: objectives.gain(one, figures[one.quantity].estimate, origins[one.name], limits)
            for one in compared
        }
        for name, figures in known.items()
    }


def shares(
    compared: Sequence[Objective], gains: Mapping[str, Mapping[str, float]], weights: Mapping[str, float]
) -> dict[str, float]:
    """Objective -> what a unit of its gain weighs, as preferred, or else for the knee point of the variants' front; they add up to 1."""
    names = [objective.name for objective in compared]
    heard = {name: weights[name] for name in names if weights.get(name)}
    if heard:
        total = sum(heard.values())
        return {name: weight / total for name, weight in heard.items()}
    points = [[gains[variant][name] for name in names] for variant in gains]
    best = [points[place] for place in pareto.front(points)]
    return dict(zip(names, pareto.knee_weights(best, STRETCHED), strict=True))


def _heeded(compared: Sequence[Objective], shares: Mapping[str, float]) -> list[Objective]:
    return [objective for objective in compared if shares.get(objective.name)]


def _unheard(weights: Mapping[str, float], shares: Mapping[str, float]) -> str:
    """What was preferred and has no say."""
    lost = [name for name, weight in weights.items() if weight and name not in shares]
    return f" ({_and(lost)} could not be measured, and has no say)" if lost else ""


def _seen(figures: Mapping[str, Figure], speed: str | None) -> str:
    return f" ({show(figures[speed].estimate, figures[speed].unit)} in screening)" if speed is not None else ""


def _tie(chosen: str, others: Sequence[str], recipes: Sequence[Recipe], preferences: Sequence[Preference]) -> str:
    """What put the chosen one before others that are as good."""
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


def _changes(
    chosen: str,
    second: str,
    compared: Sequence[Objective],
    shares: Mapping[str, float],
    gains: Mapping[str, Mapping[str, float]],
    known: Screened,
    limits: Limits,
) -> tuple[str, ...]:
    """What it would take for the second best to be the choice, each in a sentence: other preferences, or other figures."""
    ahead = {name: gains[chosen][name] - gains[second][name] for name in shares}
    lead = sum(shares[name] * ahead[name] for name in shares)
    if lead <= 0:
        return (f"{second} is equal in practice; the order of preference put {chosen} before it.",)
    told = []
    for name, share in shares.items():
        if ahead[name] < 0:
            # The others keep their proportions.
            needed = (lead - share * ahead[name]) / -ahead[name]
            scaled = {one: needed if one == name else weight for one, weight in shares.items()}
            least = min(weight for weight in scaled.values() if weight > 0)
            wish = ",".join(
                f"{one}={1.02 * weight / least if one == name else weight / least:.3g}"
                for one, weight in scaled.items()
            )
            scores = {
                variant: sum((1.02 if one == name else 1) * scaled[one] * found[one] for one in scaled)
                for variant, found in gains.items()
            }
            if max(scores, key=scores.__getitem__) == second:  # and no third one
                told.append(
                    f"With {1.02 * needed / share:.2g} times the weight on {name} it is {second} (--edge-prefer {wish})."
                )
    if not told:
        worse = all(ahead[name] >= 0 for name in shares)
        why = (
            f"{chosen} is at least as good in everything" if worse else "before it comes so far, another one is better"
        )
        told.append(f"No weight on one objective makes {second} the choice: {why}.")
    for objective in _heeded(compared, shares):
        figure = known[second][objective.quantity]
        value = objectives.value_at(objective, lead / shares[objective.name], figure.estimate, limits)
        possible = not (figure.unit == "proportion" and value > 1)
        if possible:
            bound = "at least" if objective.more else "at most"
            told.append(
                f"It is {second}, too, if its {objective.word} is {bound} {show(value, figure.unit)} instead of {show(figure.estimate, figure.unit)}."
            )
    return tuple(told)


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
