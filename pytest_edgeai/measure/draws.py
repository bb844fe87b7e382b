"""Draws: one number a process, or a block of calls, of variants that take turns in random order."""

import contextlib
import random
import time
from collections.abc import Sequence

from pytest_edgeai.measure.bench import Bench, Setup, readings
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.records import Measurement, Variant


class Draws:
    """Of metrics that are read once a process; or of one metric that is read around blocks of ``block_seconds``.

    In each round every variant has its turn, in an order that is drawn anew, so that noise strikes all alike. ``patience``: seconds that
    may be waited in all for free cores.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        setup: Setup,
        metrics: Sequence[str],
        seed: int,
        *,
        block_seconds: float | None = None,
        patience: float = 0.0,
    ) -> None:
        self._variants, self._setup, self._metrics, self._block_seconds = variants, setup, metrics, block_seconds
        self._random = random.Random(seed)  # noqa: S311 - an order, not a secret
        self._quiet = Quiet(setup.threads, patience)
        self.rounds = 0
        self.busy = 0
        """Turns that began when something else ran on the cores."""
        self.columns: dict[str, dict[str, list[float]]] = {variant.name: {} for variant in variants}
        """Variant -> quantity -> one number a round."""
        self._unsupported: dict[str, str] = {}

    def more(self, rounds: int) -> list[Measurement]:
        """So many rounds more; the record of each variant's part in them. None where a metric of blocks can't be read."""
        noise, begin, busy, first = Noise(), time.perf_counter(), self.busy, self.rounds
        places: dict[str, list[float]] = {variant.name: [] for variant in self._variants}
        with contextlib.ExitStack() as stack:
            benches = [stack.enter_context(self._bench(variant)) for variant in self._variants if self._block_seconds]
            if self._unsupported and benches:
                return []
            for bench in benches:  # a device that has been at work is warm
                self._block(bench)
            for _ in range(rounds):
                order = self._random.sample(range(len(self._variants)), len(self._variants))
                for place, which in enumerate(order):
                    self.busy += not self._quiet.wait()
                    name = self._variants[which].name
                    found = self._block(benches[which]) if benches else self._process(self._variants[which])
                    for quantity, value in found.items():
                        self.columns[name].setdefault(quantity, []).append(value)
                    places[name].append(float(place))
                self.rounds += 1
        facts = noise.since() | {"waited_s": self._quiet.waited, "busy_starts": float(self.busy - busy)}
        seconds = time.perf_counter() - begin
        return [
            Measurement(
                subject=name,
                metric=self._metrics[0] if benches else "process",
                unit="",
                plan="blocks" if benches else "process",
                phase="gate",
                samples={quantity: values[first:] for quantity, values in columns.items()}
                | ({"place": places[name]} if len(self._variants) > 1 else {}),
                seconds=seconds,
                processes=1 if benches else rounds,
                noise=facts,
            )
            for name, columns in self.columns.items()
        ]

    def why_not(self, metric: str) -> str | None:
        """Why the metric can't be read of one of the variants, if it can't."""
        return self._unsupported.get(metric)

    def _bench(self, variant: Variant) -> Bench:
        bench = Bench(variant, self._setup, self._metrics)
        self._unsupported |= bench.unsupported
        return bench

    def _process(self, variant: Variant) -> dict[str, float]:
        with self._bench(variant) as bench:
            return {quantity: values[0] for quantity, values in readings([bench]).items()}

    def _block(self, bench: Bench) -> dict[str, float]:
        (metric,), seconds = self._metrics, self._block_seconds or 0.0
        found = bench.block(metric, self.rounds, seconds)
        return {metric if part == metric else f"{metric}.{part}": value for part, value in found.items()}
