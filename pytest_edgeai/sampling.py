"""Sampling: takes as many samples as a claim needs, in worker processes, and notes all of them. Whoever calls holds the host's lock."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pytest_edgeai import screening
from pytest_edgeai.errors import EdgeError, PluginError, UnsupportedError, WorkerError
from pytest_edgeai.judge import figures, finding, ratios, series
from pytest_edgeai.judge.claims import MIRRORED, Claim
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.quantities import PERCENTILES, SETTINGS
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.measure.bench import ALONE, Bench, Load, Setup, readings
from pytest_edgeai.measure.rates import Rates
from pytest_edgeai.measure.solo import Solo
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.records import Evidence, Figure, Outcome, Variant
from pytest_edgeai.registry import Registry

PROCESSES = 5
"""Fresh processes for a gate on a quantity that is one number a process."""
BLOCKS = 5
BLOCK_SECONDS = 2.0
"""Blocks for a gate on a quantity that is one number a block, and how long each lasts: sensors that are updated a thousand times a second are
read to a tenth of a percent then."""


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
    _columns: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    """Variant -> quantity -> one number a process or a block."""
    _unsupported: dict[str, str] = dataclasses.field(default_factory=dict)
    """Metric -> why it can't be read here."""

    def find(self, claim: Claim, baseline: str, rules: Rules, before: Evidence | None = None) -> Finding:
        """What a claim on time, memory, or another metric comes to; ``baseline`` is the unoptimized model. Raises EdgeError.

        ``before``: what earlier runs found out; ratios of time go on from there.
        """
        metric = self.registry.metrics.get(claim.family)
        if metric is not None and metric.per == "call" and claim.other and claim.quantity != "latency.p50":
            raise UnsupportedError(
                "two variants are timed in turns, which shows the ratio of their medians: compare latency.p50, or speedup."
            )
        if claim.family == "speedup" and claim.other:
            raise UnsupportedError("a speed-up is a ratio already: compare it with a number.")
        if claim.family == "speedup":
            return self._in_turns(claim.subject, baseline, claim.operator, claim.limit, rules, before)
        if claim.family == "throughput":
            return self._throughput(claim, rules, before)
        if metric is not None and metric.per == "call":
            return (
                self._each_call(claim, rules) if claim.other is None else self._ratio_of_medians(claim, rules, before)
            )
        begin = time.perf_counter()
        over = self.columns(claim.other, claim.quantity) if claim.other else None
        mine = self.columns(claim.subject, claim.quantity)
        samples = "blocks" if metric is not None and metric.per == "block" else "processes"
        return finding.extremes(mine, claim.operator, claim.limit, over, time.perf_counter() - begin, samples)

    def columns(self, name: str, quantity: str) -> list[float]:
        """A quantity that is one number a process or a block. Raises UnsupportedError where it can't be read."""
        metric = quantity.partition(".")[0]
        if metric in self._unsupported:
            raise UnsupportedError(f"{quantity} can't be read here: {self._unsupported[metric]}.")
        if quantity not in self._columns.get(name, {}):
            per_block = self.registry.metrics[metric].per == "block"
            found = self._blocks(name, metric) if per_block else self._processes(name)
            self._columns.setdefault(name, {}).update(found)
            for part, values in found.items():
                summary = figures.of_blocks if per_block else figures.of_processes
                self.note_figure(name, part, summary(values, self.units[part]))
        if quantity not in self._columns[name]:
            raise UnsupportedError(
                f"{quantity} can't be read here: {self._unsupported.get(metric, 'the sensor gave no such number')}."
            )
        return self._columns[name][quantity]

    def screen(self, name: str, baseline: str, limit: float) -> screening.Screened:
        """Rough estimates of every quantity of one variant, with what they are made of. Raises EdgeError."""
        found = screening.screen(
            self.variant(name), self.variant(baseline), self.setup, self.registry, limit=limit, seed=self.seed()
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
        before: Evidence | None,
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

    def _ratio_of_medians(self, claim: Claim, rules: Rules, before: Evidence | None) -> Finding:
        assert claim.other is not None
        # variant / other <= limit says that the variant is at least 1 / limit times as fast.
        found = self._in_turns(claim.subject, claim.other, MIRRORED[claim.operator], 1 / claim.limit, rules, before)
        return dataclasses.replace(
            found, estimate=_one_over(found.estimate), low=_one_over(found.high), high=_one_over(found.low)
        )

    def _each_call(self, claim: Claim, rules: Rules) -> Finding:
        prefix, _, part = claim.quantity.rpartition(".")
        metric, _, column = prefix.partition(".")
        with Solo(self.variant(claim.subject), self.setup, metric=metric, part=column, patience=rules.budget) as solo:
            unit = self.registry.metrics[metric].units[column or metric]
            found = (
                series.jitter(solo, claim.operator, claim.limit, rules)
                if part == "jitter"
                else series.percentile(solo, PERCENTILES[part], claim.operator, claim.limit, rules, unit)
            )
            self.note("measurement", solo.measurement("gate", unit))
        return found

    def _throughput(self, claim: Claim, rules: Rules, before: Evidence | None) -> Finding:
        load = load_of(claim.quantity)
        if claim.other is not None:
            return self._in_turns(claim.subject, claim.other, claim.operator, claim.limit, rules, before, load)
        with Rates(self.variant(claim.subject), self.setup, load, claim.quantity, rules.budget) as rates:
            found = series.throughput(rates, claim.operator, claim.limit, rules)
            self.note("measurement", rates.measurement("gate"))
        return found

    def _processes(self, name: str) -> dict[str, list[float]]:
        columns: dict[str, list[float]] = {}
        begin = time.perf_counter()
        for _ in range(PROCESSES):
            with Bench(self.variant(name), self.setup, self.registry.metrics_per("start", "process")) as bench:
                self._unsupported.update(bench.unsupported)
                for quantity, values in readings([bench]).items():
                    columns.setdefault(quantity, []).extend(values)
        self.note("measurement", screening.processes(name, columns, "gate", time.perf_counter() - begin))
        return columns

    def _blocks(self, name: str, metric: str) -> dict[str, list[float]]:
        with Bench(self.variant(name), self.setup, (metric,)) as bench:
            if metric in bench.unsupported:
                self._unsupported.update(bench.unsupported)
                return {}
            begin = time.perf_counter()
            bench.block(metric, 0, BLOCK_SECONDS)  # a device that has been at work is warm
            blocks = [bench.block(metric, number, BLOCK_SECONDS) for number in range(BLOCKS)]
        columns = {
            metric if part == metric else f"{metric}.{part}": [block[part] for block in blocks] for part in blocks[0]
        }
        taken = screening.processes(name, columns, "gate", time.perf_counter() - begin)
        self.note("measurement", msgspec.structs.replace(taken, metric=metric, plan="blocks", processes=1))
        return columns


def load_of(quantity: str) -> Load:
    """How items are fed for ``throughput@batch=8,requests=2``."""
    setting = dict(part.split("=") for part in quantity.partition("@")[2].split(",") if part)
    return Load(**{name: int(setting.get(name, 1)) for name in SETTINGS["throughput"]})


def _one_over(value: float | None) -> float | None:
    return None if value is None else (1 / value if value else math.inf)
