"""What every engine's generator must do, asked of one that an engine has loaded; and the small checkpoints that they are built of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from pytest_edgeai.protocols import Generator
from pytest_edgeai.records import Assessment, LanguageFacts, Quantizable, Target
from tests.language import checkpoints

VOCABULARY = 320
"""Room for a tokenizer that has all bytes."""
WIDE = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64}
"""Rows that can be quantized in groups of 256."""
TOKENS = np.random.default_rng(7).integers(0, VOCABULARY, 40)
PROMPT = TOKENS[:12]
TARGET = Target(name="intel", title="Intel", frameworks=("openvino",))


def source(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    """A checkpoint with a tokenizer, whose first answer to ``PROMPT`` is its own end of a text."""
    config = {**checkpoints.CONFIGS[kind], "vocab_size": VOCABULARY, **changes}
    weights = checkpoints.weights_of(config)
    for name, array in weights.items():
        if array.ndim == 2 and "embed" not in name:  # long rows would make sums that rounding moves too far
            weights[name] = array * np.float32((checkpoints.HIDDEN / array.shape[1]) ** 0.5)
    checkpoints.save(folder, config, weights)
    end = int(log_probabilities(Checkpoint(folder), PROMPT)[-1].argmax())
    checkpoints.save(folder, {**config, "eos_token_id": end}, weights)
    checkpoints.add_tokenizer(folder, whole=True)
    return folder


def logs(generator: Generator, tokens: NDArray[np.int64], chunk: int) -> NDArray[np.float64]:
    """Logarithms of probabilities."""
    parts = [np.array(part, np.float64) for part in generator.logits(tokens, chunk)]
    assert [len(part) for part in parts] == [min(chunk, len(tokens) - at) for at in range(0, len(tokens), chunk)]
    return agreement.normalized(np.concatenate(parts))


def mean_divergence(folder: Path, generator: Generator) -> float:
    """From the source, in nats a token."""
    expected = log_probabilities(Checkpoint(folder), TOKENS)
    return float(agreement.divergence(expected, logs(generator, TOKENS, 16)).mean())


def demand_contract(generator: Generator, ties: float) -> None:
    """All that :class:`pytest_edgeai.protocols.Generator` says; ``ties``: nats by which the engine's own ways to compute may differ."""
    whole = logs(generator, TOKENS, len(TOKENS))
    for chunk in (1, 16):
        assert np.abs(logs(generator, TOKENS, chunk) - whole).max() < ties

    generated = list(generator.generate(PROMPT, 8))
    told = logs(generator, np.concatenate([PROMPT, generated]), 64)[len(PROMPT) - 1 : -1]
    assert len(generated) == 8
    assert (told[np.arange(8), generated] > told.max(1) - ties).all()

    abandoned = generator.generate(TOKENS, 8)
    next(abandoned)
    assert list(generator.generate(PROMPT, 8)) == generated
    del abandoned
    assert list(generator.generate(PROMPT, 1)) == generated[:1]
    assert (generator.vocabulary, generator.context) == (VOCABULARY, checkpoints.CONTEXT)


def demand_refusals(generator: Generator) -> None:
    """What an engine would take in silence, or die of, is told in the same words by all."""
    full = np.zeros(generator.context, np.int64)
    assert sum(len(part) for part in generator.logits(full, 50)) == generator.context
    assert len(list(generator.generate(full[:-2], 2))) == 2
    with pytest.raises(ModelError, match=r"^127 tokens and 2 more are more than the 128 that this model attends to\.$"):
        next(generator.generate(full[:-1], 2))
    with pytest.raises(ModelError, match=r"^129 tokens are more than the 128 that this model attends to\.$"):
        next(generator.logits(np.zeros(129, np.int64), 64))
    with pytest.raises(ModelError, match="no token number 320, only 320 of them"):
        next(generator.generate(np.array([3, 320]), 1))
    with pytest.raises(ModelError, match="no token number -1"):
        next(generator.logits(np.array([3, -1]), 1))
    with pytest.raises(ModelError, match="was given no tokens"):
        next(generator.generate(np.array([], np.int64), 1))


def assessment(why_not: Mapping[str, str] = {}) -> Assessment:
    """Of a model that can't be brought to these precisions, and why."""
    return Assessment(
        digest="0",
        bytes=1,
        parameters=1,
        macs=None,
        architecture="transformer",
        ops={},
        inputs=(),
        outputs=(),
        opset=0,
        precisions={name: Quantizable(possible=False, reason=reason) for name, reason in why_not.items()},
        language=LanguageFacts(
            family="llama",
            layers=1,
            hidden=1,
            heads=1,
            kv_heads=1,
            vocabulary=1,
            context=1,
            dtype="float32",
            active_parameters=1,
            tied=False,
        ),
    )
