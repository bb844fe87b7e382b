"""Decoders: what numpy computes is what transformers compute, and what is not converted is refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import decoder_of, log_probabilities
from tests.language import checkpoints

EXPECTED = np.load(Path(__file__).with_name("expected.npz"))
TINY = Path(__file__).parents[2] / "fixtures" / "tiny_lm"


@pytest.mark.parametrize("kind", checkpoints.CONFIGS)
def test_it_computes_what_transformers_compute(kind: str, tmp_path: Path) -> None:
    found = log_probabilities(Checkpoint(checkpoints.make(tmp_path / kind, kind)), EXPECTED["tokens"])

    assert found.shape == (len(EXPECTED["tokens"]), checkpoints.VOCABULARY)
    assert np.abs(found - EXPECTED[kind]).max() < 1e-4


def test_what_conversions_get_wrong_would_show() -> None:
    """Else the test above, and the checks that conversions make, would say nothing."""
    kinds = [
        kind
        for kind in checkpoints.CONFIGS
        if kind.startswith("llama-") and kind not in ("llama-tied", "llama-all-heads")
    ]

    assert all(np.abs(EXPECTED[kind] - EXPECTED["llama"]).max() > 0.5 for kind in kinds)


def test_the_sample_model_is_computed_as_by_transformers() -> None:
    known = np.load(TINY / "logits.npz")
    expected = known["logits"].astype(np.float64)
    expected -= np.log(np.exp(expected).sum(-1, keepdims=True))

    found = log_probabilities(Checkpoint(TINY / "tiny-lm"), known["tokens"])

    assert np.abs(found - expected).max() < 1e-3


def of(config: dict[str, Any], folder: Path) -> Checkpoint:
    weights = {"lm_head.weight": np.zeros((2, 2), np.float32)}
    return Checkpoint(checkpoints.save(folder, config, weights))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model_type": "gemma3"}, "is of the family 'gemma3'"),
        ({"num_local_experts": 8}, "is a mixture of experts"),
        ({"model_type": "gemma4", "text_config": {"num_experts": 8}}, "is a mixture of experts"),
        ({"hidden_act": "gelu"}, "the activation gelu"),
        ({"model_type": "mistral", "sliding_window": 64}, "a window of 64 of its 128 positions"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "positions of the kind 'yarn'"),
    ],
)
def test_what_is_not_converted_here_is_refused(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=told):
        decoder_of(of({**checkpoints.LLAMA, **changed}, tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        {"num_hidden_layers": "many"},
        {"num_attention_heads": 0, "head_dim": None},
        {"num_key_value_heads": 3},
        {"vocab_size": -1},
        {"rms_norm_eps": None},
    ],
)
def test_sizes_that_can_not_be_are_an_error(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        decoder_of(of({**checkpoints.LLAMA, **changed}, tmp_path))


def test_a_size_that_is_missing_is_an_error(tmp_path: Path) -> None:
    checkpoint = of({name: value for name, value in checkpoints.LLAMA.items() if name != "hidden_size"}, tmp_path)

    with pytest.raises(ModelError, match="hidden_size"):
        decoder_of(checkpoint)


def test_positions_are_read_as_transformers_5_write_them(tmp_path: Path) -> None:
    old = {**checkpoints.LLAMA, "rope_theta": 50000.0, "rope_scaling": checkpoints.STRETCHED}
    new = {name: value for name, value in old.items() if not name.startswith("rope_")}
    new["rope_parameters"] = {"rope_theta": 50000.0, **checkpoints.STRETCHED}

    assert decoder_of(of(new, tmp_path / "new")) == decoder_of(of(json.loads(json.dumps(old)), tmp_path / "old"))
