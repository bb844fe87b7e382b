"""A plugin of language engines for the tests of the doctor, whose arithmetic is numpy's: one is well, each of the others ill in its own way."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np

from pytest_edgeai import hookimpl
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from pytest_edgeai.records import EngineDevice, Recipe

ILLS = (
    "well",
    "amx",  # as llama.cpp with AMX kernels where a process may not use them: what is quantized crashes, the rest works
    "foreign",  # as llama.cpp that was compiled for another CPU
    "brief",  # ends before all tokens are generated
    "forgetful",  # right of a whole text, wrong token by token
    "thin",  # logits of half the vocabulary
    "nan",
)


class Speaker:
    def __init__(self, ill: str) -> None:
        self.name, self._ill = f"speaker_{ill}", ill
        self.distributions = ("llama-cpp-python",) if ill in ("amx", "foreign") else ("pytest-edgeai",)

    def catalogue(self, target, kind):
        quantizes = kind == "huggingface" and self._ill in ("well", "amx")
        return (Recipe(framework=self.name, precision="q8_0"),) if quantizes else ()

    def baseline(self, kind):
        return Recipe(framework=self.name, precision="f16") if kind == "huggingface" else None

    def refusal(self, recipe, assessment, device):
        return None if assessment.language else "It is no language model."

    def reason(self, recipe, assessment, device):
        return "It is a test."

    def devices(self):
        return (EngineDevice(name="CPU"),)

    def build(self, recipe, model, folder, calibration):
        shutil.copytree(model, folder / "model")

    def load(self, recipe, folder, threads):
        return Model(self._ill, recipe.precision, Checkpoint(Path(folder) / "model"))


class Model:
    def __init__(self, ill, precision, checkpoint):
        self._ill, self._precision, self._checkpoint = ill, precision, checkpoint
        self.vocabulary, self.context = int(checkpoint.config["vocab_size"]), 256

    def generate(self, prompt, count):
        if self._ill == "foreign":
            os.kill(os.getpid(), signal.SIGILL)
        if self._ill == "amx" and self._precision != "f16":
            os.kill(os.getpid(), signal.SIGSEGV)
        tokens = [*prompt]
        for _ in range(count - (self._ill == "brief")):
            tokens.append(int(log_probabilities(self._checkpoint, np.array(tokens))[-1].argmax()))
            yield tokens[-1]

    def logits(self, tokens, chunk):
        found = log_probabilities(self._checkpoint, tokens)
        if self._ill == "forgetful" and chunk == 1:
            found[1:] = log_probabilities(self._checkpoint, tokens[1:])  # the first one is not attended to
        if self._ill == "nan":
            found[3, 3] = np.nan
        if self._ill == "thin":
            found = found[:, : self.vocabulary // 2]
        for first in range(0, len(tokens), chunk):
            yield found[first : first + chunk].astype(np.float32)

    def placement(self):
        return {"device": "CPU", "precision": self._precision}


@hookimpl
def edge_frameworks():
    return tuple(map(Speaker, ILLS))
