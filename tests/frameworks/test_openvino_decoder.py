"""OpenVINO's decoders: the network that is built of a checkpoint says what its source says, whole and in parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError
from pytest_edgeai.frameworks.openvino import decoder
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from tests.language import checkpoints

openvino = pytest.importorskip("openvino")

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
TOKENS = np.random.default_rng(7).integers(0, checkpoints.VOCABULARY, 60)


class Compiled:
    """A generator's logits, of a network."""

    vocabulary, context = checkpoints.VOCABULARY, checkpoints.CONTEXT

    def __init__(self, network: Any) -> None:
        self._compiled = openvino.Core().compile_model(network, "CPU", EXACT)

    def logits(self, tokens: NDArray[np.int64], chunk: int) -> Iterator[NDArray[np.float32]]:
        request = self._compiled.create_infer_request()
        for first in range(0, len(tokens), chunk):
            part = tokens[first : first + chunk]
            end = first + len(part)
            inputs = {
                "input_ids": part[None],
                "attention_mask": np.ones((1, end), np.int64),
                "position_ids": np.arange(first, end)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
            yield np.array(request.infer(inputs)[0][0])


@pytest.mark.parametrize("kind", checkpoints.CONFIGS)
def test_it_says_what_its_source_says(kind: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint(checkpoints.make(tmp_path / kind, kind))
    expected, compiled = log_probabilities(checkpoint, TOKENS), Compiled(decoder.network(checkpoint))

    for chunk in (len(TOKENS), 16, 1):
        logits = np.concatenate([part.astype(np.float64) for part in compiled.logits(TOKENS, chunk)])
        assert np.abs(agreement.normalized(logits) - expected).max() < 1e-4


def test_a_wrong_order_of_rows_would_be_noticed(tmp_path: Path) -> None:
    checkpoint = Checkpoint(checkpoints.make(tmp_path / "llama", "llama"))
    weights = checkpoints.weights_of(checkpoints.LLAMA)
    name = "model.layers.1.self_attn.q_proj.weight"
    weights[name] = weights[name][::-1].copy()
    wrong = Checkpoint(checkpoints.save(tmp_path / "wrong", checkpoints.LLAMA, weights))

    with pytest.raises(BuildError, match="diverges from its source by up to"):
        agreement.demand(agreement.answers(checkpoint), Compiled(decoder.network(wrong)), "openvino-fp32")  # type: ignore[arg-type]
