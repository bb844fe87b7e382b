"""Generation: the phases of a language model as calls that can be timed.

A call is one prompt and a fixed number of tokens after it. Time to first token, prefill and decode are parts of the same call, told apart by when each
token was known to the host (the terms: Agrawal et al., "Etalon", arXiv 2407.07000).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.protocols import Generator

PHASES: Final = ("ttft", "prefill", "decode", "end_to_end")
"""What of a call may be timed: until the first token; the same, as work on the prompt; all tokens after the first one; everything."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """One call: when it began, and when each token was known; nanoseconds of the same clock."""

    begin: int
    tokens: tuple[int, ...]
    """Which ones."""
    known: tuple[int, ...]

    def nanoseconds(self, phase: str) -> int:
        """That the phase took."""
        first, last = self.known[0], self.known[-1]
        return {
            "ttft": first - self.begin,
            "prefill": first - self.begin,
            "decode": last - first,
            "end_to_end": last - self.begin,
        }[phase]

    @property
    def apart(self) -> list[int]:
        """Nanoseconds between neighbouring tokens: what each one after the first took."""
        return [later - earlier for earlier, later in zip(self.known, self.known[1:], strict=False)]


class Prompted:
    """A generator and the prompts that it is timed with."""

    def __init__(self, generator: Generator, prompts: Sequence[NDArray[np.integer[Any]]], output: int) -> None:
        self._generator, self._prompts, self._output = generator, prompts, output

    def call(self, place: int, phase: str) -> Stamps:
        """The call number ``place``, with as many tokens as the phase needs. Raises ModelError where there are others."""
        count = 1 if phase in ("ttft", "prefill") else self._output
        prompt = self._prompts[place % len(self._prompts)]
        known, tokens = [], []
        begin = time.perf_counter_ns()
        for token in self._generator.generate(prompt, count):
            known.append(time.perf_counter_ns())
            tokens.append(token)
        if len(tokens) != count or not all(0 <= token < self._generator.vocabulary for token in tokens):
            raise ModelError(f"{count} tokens were asked for, and the model gave {len(tokens)}: {tokens[:8]}...")
        return Stamps(begin, tuple(tokens), tuple(known))
