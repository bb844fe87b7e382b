"""Sampling: takes as many samples as a claim needs, in worker processes, and notes all of them. Whoever calls holds the host's lock."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_edgeai import screening
from pytest_edgeai.errors import EdgeError, PluginError, UnsupportedError, WorkerError
from pytest_edgeai.judge import figures, finding, ratios, series
from pytest_edgeai.judge.claims import MIRRORED, SPEEDUPS, Claim
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.quantities import PERCENTILES, PHASES, SETTINGS
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.language.generation import of_calls, of_tokens
from pytest_edgeai.measure.bench import ALONE, Bench, Load, Setup
from pytest_edgeai.measure.draws import Draws
from pytest_edgeai.measure.phases import Phase
from pytest_edgeai.measure.rates import Blocks
from pytest_edgeai.measure.solo import Calls, Solo, Source
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.protocols import Metric, Slow, Sparing
from pytest_edgeai.records import Figure, Outcome, Variant
from pytest_edgeai.registry import Registry

BLOCKS = 5
"""For an estimate of a quantity that is one number a block."""
BLOCK_SECONDS = 1.0
"""How long a block lasts, unless the metric asks for more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """Of the variants of one model. ``variant`` builds or finds one by name; ``note`` keeps a fact of a kind, ``note_figure`` a figure."""

    registry: Registry
    units: Mapping[str, str]
    setup: Setup
    variant: Callable[[str], Variant]
    seed: Callable[[], int]
    note: Callable[[str, Any], None]
    note_figure: Callable[[str, str, Figure], None]
    language: bool = False
    """Whether it is a language model, whose calls have phases."""
    _draws: dict[tuple[tuple[str, ...], str, int], Draws] = dataclasses.field(default_factory=dict)
    """Variants that took turns, metric of blocks (else none), number of the draw -> the draw."""

    def find(self, claim: Claim, baseline: str, rules: Rules, before: Sequence[float] = ()) -> Finding:
        """What a claim on time, memory, or another metric comes to; ``baseline`` is the unoptimized model. Raises EdgeError.

        ``before``: what earlier runs found out; ratios of time go on from there.
        """
        metric, last = self.registry.metrics.get(claim.family), claim.quantity.partition("@")[0].rpartition(".")[2]
        phase = claim.family if self.language and claim.family in PHASES else ""
        each_call = bool(phase) or (metric is not None and metric.per == "call")
        if claim.other and each_call and claim.quantity not in SPEEDUPS and last != "speedup":
            medians = {"": "latency.p50", "itl": "tpot.p50"}.get(phase, f"{phase}.p50")
            raise UnsupportedError(
                f"two variants are timed in turns, which shows the ratio of their medians: compare {medians}, or a speed-up."
            )
        if last == "speedup" and claim.other:
            raise UnsupportedError("a speed-up is a ratio already: compare it with a number.")
        if last == "speedup":
            load = Load(phase=phase)
            return self._in_turns(claim.subject, baseline, claim.operator, claim.limit, rules, before, load)
        if last == "throughput":
            return self._throughput(claim, rules, before, phase)
        if each_call:
            return (
                self._each_call(claim, rules, phase)
                if claim.other is None
                else self._ratio_of_medians(claim, rules, before)
            )
        return self._each_process(claim, rules)

    def estimate(self, name: str, quantity: str) -> None:
        """Note the figures of a metric that is one number a block. Raises UnsupportedError where it can't be read."""
        self._draw((name,), quantity, BLOCKS)

    def screen(self, name: str, baseline: str, limit: float) -> screening.Screened:
        """Rough estimates of every quantity of one variant, with what they are made of. Raises EdgeError."""
        found = (
            screening.screen_language(self.variant(name), self.setup, self.registry)
            if self.language
            else screening.screen(
                self.variant(name), self.variant(baseline), self.setup, self.registry, limit=limit, seed=self.seed()
            )
        )
        self.note("placement", {"variant": name, "placement": found.placement})
        for measurement in found.measurements:
            self.note("measurement", measurement)
        return found

    def offline(self, name: str) -> Finding:
        """Whether the variant loads and answers in a process without a network. Raises what it raises with one, too."""
        apart = dataclasses.replace(self.setup, offline=True)
        try:
            with Bench(self.variant(name), apart) as bench:
                networked = bench.networked
        except EdgeError as error:
            if isinstance(error, PluginError) or (isinstance(error, WorkerError) and error.phase == "start"):
                raise  # the worker never came to the variant
            with Bench(self.variant(name), dataclasses.replace(self.setup, offline=False)):
                return Finding(Outcome.FAIL, None, notes=["it runs only with a network", *str(error).splitlines()])
        if networked is not None:
            raise UnsupportedError(f"the network can't be taken away from a process here: {networked}.")
        return Finding(Outcome.PASS, None, method="a network namespace of its own")

    def _in_turns(
        self,
        variant: str,
        baseline: str,
        operator: str,
        limit: float,
        rules: Rules,
        before: Sequence[float],
        load: Load = ALONE,
    ) -> Finding:
        with Turns(
            self.variant(baseline),
            self.variant(variant),
            self.setup,
            limit=limit,
            pairs=rules.pairs,
            seed=self.seed(),
            patience=rules.budget,
            load=load,
        ) as turns:
            found = ratios.speedup(turns, operator, limit, rules, before)
            self.note("measurement", turns.measurement("gate"))
        return found

    def _ratio_of_medians(self, claim: Claim, rules: Rules, before: Sequence[float]) -> Finding:
        assert claim.other is not None
        # variant / other <= limit says that the variant is at least 1 / limit times as fast.
        operator, limit = MIRRORED[claim.operator], 1 / claim.limit
        load = Load(phase=SPEEDUPS[claim.quantity].rpartition(".")[0])
        found = self._in_turns(claim.subject, claim.other, operator, limit, rules, before, load)
        return dataclasses.replace(
            found, estimate=_one_over(found.estimate), low=_one_over(found.high), high=_one_over(found.low)
        )

    def _each_call(self, claim: Claim, rules: Rules, phase: str) -> Finding:
        prefix, _, part = claim.quantity.rpartition(".")
        metric, _, column = prefix.partition(".")
        source: Source = Phase(phase) if phase else Calls(metric, column)
        with Solo(self.variant(claim.subject), self.setup, source, patience=rules.budget) as solo:
            unit = "s" if phase else self.registry.metrics[metric].units[column or metric]
            samples = "tokens" if phase == "itl" else "calls"
            found = (
                series.jitter(solo, claim.operator, claim.limit, rules, samples)
                if part == "jitter"
                else series.percentile(solo, PERCENTILES[part], claim.operator, claim.limit, rules, unit, samples)
            )
            self.note("measurement", solo.measurement("gate", unit))
        return found

    def _throughput(self, claim: Claim, rules: Rules, before: Sequence[float], phase: str) -> Finding:
        load = Load(phase=phase) if phase else load_of(claim.quantity)
        if claim.other is not None:
            return self._in_turns(claim.subject, claim.other, claim.operator, claim.limit, rules, before, load)
        source: Source = Phase(phase) if phase else Blocks(load, claim.quantity)
        unit, samples = self.units[claim.quantity.partition("@")[0]], "calls" if phase else "blocks"
        with Solo(self.variant(claim.subject), self.setup, source, patience=rules.budget) as solo:
            found = series.throughput(solo, claim.operator, claim.limit, rules, unit, samples)
            self.note("measurement", solo.measurement("gate", unit))
        return found

    def _each_process(self, claim: Claim, rules: Rules) -> Finding:
        """One number a process or a block.

        Neighbours on the cores make a start slower. So what speaks against the variant is only believed when the cores were free; a second
        draw, which has its share of the error rate, waits for that.
        """
        begin = time.perf_counter()
        against = Outcome.FAIL if claim.operator in ("<=", "<") else Outcome.PASS
        draws = 2 if self.units[claim.quantity] == "s" else 1
        for draw in range(draws):
            patience = rules.budget if draw else 0.0
            counts = {
                Outcome.PASS: finding.agreeing(rules.alpha_pass / draws),
                Outcome.FAIL: finding.agreeing(rules.alpha_fail / draws),
            }
            fewer = min(counts.values())
            found, busy = self._extremes(claim, fewer, draw, patience, rules.guard)
            if counts.get(found.outcome, fewer) > fewer:
                found, busy = self._extremes(claim, counts[found.outcome], draw, patience, rules.guard)
            if busy == 0 or found.outcome not in (against, Outcome.INCONCLUSIVE):
                break
        if draws == 2 and busy and found.outcome is against:
            note = f"other programs kept running on the cores when {busy} processes began, which makes them slower: run it on a quieter machine"
            found = dataclasses.replace(found, outcome=Outcome.INCONCLUSIVE, notes=[note])
        return dataclasses.replace(found, seconds=time.perf_counter() - begin)

    def _extremes(self, claim: Claim, count: int, draw: int, patience: float, guard: float) -> tuple[Finding, int]:
        """What so many numbers of each side come to, and how many of them began when the cores were not free."""
        metric, (family, _, part) = self.registry.metrics[claim.family], claim.quantity.partition(".")
        names = [claim.subject, *([claim.other] if claim.other else [])]
        # What no neighbour changes need not be measured side by side, and serves other claims, too.
        together = metric.per == "block" or self.units[claim.quantity] == "s"
        groups = [tuple(sorted(set(names)))] * len(names) if together else [(name,) for name in names]
        taken = [self._draw(group, claim.quantity, count, draw, patience) for group in groups]

        def numbers(quantity: str) -> tuple[list[float], list[float]]:
            found = [draws.columns[name][quantity][:count] for draws, name in zip(taken, names, strict=True)]
            return found[0], found[1] if claim.other else []

        mine, over = numbers(claim.quantity)
        share = metric.spare.get(of_calls(part) or family) if isinstance(metric, Sparing) else None
        share = of_tokens(share) if share and self.language else share
        found = finding.extremes(
            mine,
            claim.operator,
            claim.limit,
            over,
            spare=finding.Spare(f"{family}.{share}", *numbers(f"{family}.{share}")) if share else None,
            samples="blocks" if metric.per == "block" else "processes",
            unit=claim.unit,
            # All blocks are of one process, whose layout of memory another one doesn't share.
            guard=guard if metric.per == "block" else 0.0,
        )
        return found, sum(draws.busy for draws in set(taken))

    def _draw(self, names: tuple[str, ...], quantity: str, count: int, draw: int = 0, patience: float = 0.0) -> Draws:
        """So many rounds of these variants, as far as they aren't there already. Raises UnsupportedError where it can't be read."""
        metric = self.registry.metrics[quantity.partition(".")[0]]
        per_block = metric.per == "block"
        key = (names, metric.name if per_block else "", draw)
        if key not in self._draws:
            self._draws[key] = Draws(
                [self.variant(name) for name in names],
                self.setup,
                (metric.name,) if per_block else self.registry.metrics_per("start", "process"),
                self.seed(),
                block_seconds=_block_seconds(metric) if per_block else None,
                patience=patience,
            )
        draws = self._draws[key]
        if draws.rounds < count and not draws.why_not(metric.name):
            for measurement in draws.more(count - draws.rounds):
                self.note("measurement", measurement)
            what = "blocks" if per_block else "processes"
            for name, columns in draws.columns.items():
                for part, values in columns.items():
                    self.note_figure(name, part, figures.of_range(values, self.units[part], what))
        if why := draws.why_not(metric.name):
            raise UnsupportedError(f"{quantity} can't be read here: {why}.")
        return draws


def load_of(quantity: str) -> Load:
    """How items are fed for ``throughput@batch=8,requests=2``."""
    setting = dict(part.split("=") for part in quantity.partition("@")[2].split(",") if part)
    batch, requests = (int(setting.get(name, 1)) for name in SETTINGS["throughput"])
    return Load(batch, requests)


def _block_seconds(metric: Metric) -> float:
    return metric.block_seconds if isinstance(metric, Slow) else BLOCK_SECONDS


def _one_over(value: float | None) -> float | None:
    return None if value is None else (1 / value if value else math.inf)
