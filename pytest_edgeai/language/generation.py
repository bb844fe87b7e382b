"""Generation: the phases of a language model as calls that can be timed.

A call is one prompt and a fixed number of tokens after it. Time to first token, prefill and decode are parts of the same call, told apart by when each
token was known to the host. The terms: Agrawal et al., "Etalon", arXiv 2407.07000; time per output token is the mean of a call's tokens after the first
one, as MLPerf Inference has it, and inter-token latency is each token's own.
"""

import itertools
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.protocols import Arrays, Generator, Runner

PROMPT: Final = "prompt"
OUTPUT: Final = "output"
"""Names of an item's arrays: the prompt's tokens, and how many come after them."""
FIRST: Final = ("ttft", "prefill")
PHASES: Final = (*FIRST, "decode", "end_to_end")
"""What of a call may be timed: until the first token; the same, as work on the prompt; all tokens after the first one; everything."""
PER_CALL, PER_TOKEN = "per_call", "per_token"
"""In the names of what metrics of blocks read, of tensor models and of language models."""
COMPARED: Final = 8
"""Generated tokens that are held against the logits of what was read."""
APART: Final = 0.5
"""Nats by which a generated token may be less likely than the likeliest one: what is computed a token at a time is rounded otherwise."""
CHUNK: Final = 128
"""Tokens that are read at a time: larger chunks are no faster, and take more memory."""
AGAIN: Final = 3
"""Untimed calls that show whether an engine answers differently each time, before a timed answer is called wrong."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """One call: when it began, and when each token was known; nanoseconds of the same clock."""

    prompt: int
    """Tokens."""
    begin: int
    tokens: tuple[int, ...]
    """Which ones were generated."""
    known: tuple[int, ...]

    def seconds(self, phase: str) -> float:
        """That the phase took."""
        first, last = self.known[0], self.known[-1]
        begin, end = {"decode": (first, last), "end_to_end": (self.begin, last)}.get(phase, (self.begin, first))
        return (end - begin) * 1e-9

    def columns(self) -> dict[str, list[float]]:
        """What a call shows: seconds until the first token, for each one after it (their mean; and ``itl``, one by one) and in all, and tokens a second of
        both phases.

        Only what belongs to the first token where there are no others.
        """
        found = {"ttft": [self.seconds("ttft")], "prefill": [self.prompt / self.seconds("ttft")]}
        after = len(self.tokens) - 1
        if after:
            decode = self.seconds("decode")
            found |= {"tpot": [decode / after], "decode": [after / decode], "end_to_end": [self.seconds("end_to_end")]}
            found["itl"] = [(later - token) * 1e-9 for token, later in itertools.pairwise(self.known)]
        return found


class Prompted:
    """A generator as a runner: prompts in, tokens out. Satisfies :class:`pytest_edgeai.protocols.Runner`."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._known: dict[bytes, tuple[int, ...]] = {}
        """Prompt -> the tokens that an untimed call gave."""

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """``prompt`` [length] and ``output`` [] in, ``tokens`` [output] out. Raises ModelError where there are others."""
        return {"tokens": np.array(self._called(inputs, int(inputs[OUTPUT])).tokens, np.int64)}

    def placement(self) -> dict[str, str]:
        """The generator's own."""
        return self.generator.placement()

    def timed(self, inputs: Arrays, phase: str) -> Stamps:
        """One call, with as many tokens as the phase needs."""
        return self._called(inputs, 1 if phase in FIRST else int(inputs[OUTPUT]))

    def demand_untimed(self, stamps: Stamps, inputs: Arrays) -> None:
        """What was timed must be what is generated otherwise: the same tokens. Raises ModelError."""
        key = np.asarray(inputs[PROMPT]).tobytes()
        if key not in self._known:
            self._known[key] = self._called(inputs, int(inputs[OUTPUT])).tokens
        expected = self._known[key][: len(stamps.tokens)]
        if stamps.tokens == expected:
            return
        # Two tokens may be equally likely, and threads add up in any order.
        if any(self._called(inputs, len(stamps.tokens)).tokens != expected for _ in range(AGAIN)):
            return
        raise ModelError(
            f"a timed call gave the tokens {_few(stamps.tokens)} and the same call untimed {_few(expected)}: what is timed is not what is "
            "generated. Is a state left from the call before?"
        )

    def demand_likeliest(self, inputs: Arrays) -> None:
        """What is generated must be what the model finds likeliest when it reads it. Raises ModelError."""
        tokens = self._called(inputs, min(COMPARED, int(inputs[OUTPUT]))).tokens
        whole = np.concatenate([np.asarray(inputs[PROMPT]), tokens[:-1]]).astype(np.int64)
        parts = [np.array(part, np.float64) for part in self.generator.logits(whole, CHUNK)]
        logits = np.concatenate(parts)[-len(tokens) :]
        short = logits.max(1) - logits[np.arange(len(tokens)), list(tokens)]
        if not np.isfinite(logits).all():
            raise ModelError("its logits are not finite (they hold NaN or infinity)")
        if short.max() > APART:
            place = int(short.argmax())
            raise ModelError(
                f"token {place + 1} that it generates is {short[place]:.2g} nats less likely than the likeliest one, by its own logits of the same "
                "text: what is timed is not what is scored."
            )

    def _called(self, inputs: Arrays, count: int) -> Stamps:
        prompt = np.asarray(inputs[PROMPT])
        known, tokens = [], []
        begin = time.perf_counter_ns()
        for token in self.generator.generate(prompt, count):
            known.append(time.perf_counter_ns())
            tokens.append(token)
        if len(tokens) != count or not all(0 <= token < self.generator.vocabulary for token in tokens):
            raise ModelError(f"{count} tokens were asked for, and the model gave {len(tokens)}: {_few(tokens)}")
        return Stamps(len(prompt), begin, tuple(tokens), tuple(known))


def of_tokens(name: str) -> str:
    """What a metric reads for each call is read for each token of a language model: ``energy.per_token``."""
    return name.replace(PER_CALL, PER_TOKEN)


def of_calls(name: str) -> str:
    """The other way round."""
    return name.replace(PER_TOKEN, PER_CALL)


def runner_of(loaded: Runner | Generator) -> Runner:
    """What is called with an item: a generator's prompts are."""
    return Prompted(loaded) if isinstance(loaded, Generator) else loaded


def _few(tokens: "tuple[int, ...] | list[int]") -> str:
    return ", ".join(map(str, tokens[:8])) + (", ..." if len(tokens) > 8 else "")
