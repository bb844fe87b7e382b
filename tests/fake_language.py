"""A framework plugin for the tests: a language model in plain numpy, misbehaving as its recipe's method says."""

import json
import os
import shutil
import signal
import time

import numpy as np

from pytest_edgeai import hookimpl
from pytest_edgeai.errors import ModelError
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import decoder_of, log_probabilities
from pytest_edgeai.records import EngineDevice, Recipe

METHODS = (
    "",  # as it is
    "coarse",  # its weights are rounded
    "slow",  # waits a millisecond before each token
    "other",  # has a tokenizer of its own
    "segv",  # dies when it generates
    "stale",  # goes on from the state of the call before
)


class FakeLanguage:
    name = "lm"
    distributions = ("numpy",)

    def catalogue(self, target, kind):
        return [Recipe(framework="lm", precision="int8", method=method) for method in METHODS if method] * (
            kind == "huggingface"
        )

    def baseline(self, kind):
        return Recipe(framework="lm", precision="fp32") if kind == "huggingface" else None

    def refusal(self, recipe, assessment, device):
        return None

    def reason(self, recipe, assessment, device):
        return "It is a test."

    def devices(self):
        return (EngineDevice(name="CPU"),)

    def build(self, recipe, model, folder, calibration):
        shutil.copytree(model, folder, dirs_exist_ok=True)

    def load(self, recipe, folder, threads):
        return Generator(folder, recipe.method)


class Generator:
    """Computes everything anew for each token: the models are tiny."""

    def __init__(self, folder, method):
        self._checkpoint, self._method = Checkpoint(folder), method
        sizes = decoder_of(self._checkpoint)
        self.vocabulary, self.context = sizes.vocabulary, sizes.context
        self._before = 0
        if method == "other":
            self.begin = ()
            self.encode = lambda text: np.frombuffer(text.encode(), np.uint8)[::2].astype(np.int32) % self.vocabulary

    def generate(self, prompt, count):
        if self._method == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        if len(prompt) + count > self.context:
            raise ModelError(
                f"{len(prompt) + count} tokens are more than the {self.context} that this model attends to."
            )
        tokens = [*prompt.tolist()]
        if self._method == "stale":
            self._before += 1
            tokens = [(7 * self._before + 30) % self.vocabulary]
        for _ in range(count):
            if self._method == "slow":
                time.sleep(1e-3)
            tokens.append(int(self._logits(np.array(tokens))[-1].argmax()))
            yield tokens[-1]

    def logits(self, tokens, chunk):
        found = self._logits(tokens)
        for first in range(0, len(tokens), chunk):
            yield found[first : first + chunk]

    def placement(self):
        return {"device": "CPU", "precision": "float32"}

    def _logits(self, tokens):
        logits = log_probabilities(self._checkpoint, tokens).astype(np.float32)
        return np.round(logits * 2) / 2 if self._method == "coarse" else logits


@hookimpl
def edge_frameworks():
    return (FakeLanguage(),)


def tokenizer(vocabulary: int) -> str:
    """Of single bytes, the first ones of the alphabet that byte-level BPE has; and of one pair, for engines that want a merge."""
    signs = {chr(code): place for place, code in enumerate(range(33, 32 + vocabulary))} | {"ab": vocabulary - 1}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": signs, "merges": [["a", "b"]]},
        }
    )
