"""The language probe: a tiny checkpoint that a framework converts, loads and continues in a worker, with the logits that it ought to give.

A Llama of one layer with random weights, whose rows are 256 long: llama.cpp's K-quants have blocks of 256. Numpy computes it a second time.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.language.checkpoint import CONFIG, TOKENIZER, Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from pytest_edgeai.protocols import Generator

MODEL: Final = "probe"
"""The folder."""
PROMPT, COUNT = 12, 4
"""Tokens that are given, and that are generated."""
_HIDDEN, _HEADS, _KV_HEADS, _LAYERS, _CONTEXT = 256, 4, 2, 1, 256
_MERGES: Final = ("t h", "th e", "Ġ the", "i n", "a n", "Ġ a")


def write_model(folder: Path) -> None:
    """Make the checkpoint."""
    folder.mkdir()
    tokens = _tokens()
    (folder / TOKENIZER).write_text(json.dumps(_tokenizer(tokens)), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>"}'
    )
    (folder / CONFIG).write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": _HIDDEN,
                "intermediate_size": _HIDDEN,
                "num_hidden_layers": _LAYERS,
                "num_attention_heads": _HEADS,
                "num_key_value_heads": _KV_HEADS,
                "head_dim": _HIDDEN // _HEADS,
                "vocab_size": len(tokens),
                "max_position_embeddings": _CONTEXT,
                "rms_norm_eps": 1e-5,
                "hidden_act": "silu",
                "rope_theta": 10000.0,
                "tie_word_embeddings": False,
                "bos_token_id": 0,
                "eos_token_id": 0,
                "torch_dtype": "float16",
            }
        )
    )
    _save(folder / "model.safetensors", _weights(len(tokens)))


def error_of(generator: Generator, folder: Path) -> float:
    """How far its logits are off, as a text's and token by token: root mean square, as a share of the logits' own. Raises ModelError."""
    checkpoint = Checkpoint(folder)
    size = int(checkpoint.config["vocab_size"])
    prompt = np.random.default_rng(1).integers(1, size, PROMPT)
    continued = [*generator.generate(prompt, COUNT)]
    if len(continued) != COUNT or not all(0 <= token < size for token in continued):
        raise ModelError(f"it generates {continued} where {COUNT} tokens of {size} were asked for")
    tokens = np.array([*prompt, *continued], np.int64)
    expected = _centred(log_probabilities(checkpoint, tokens))
    asked = [
        np.concatenate([np.array(part, np.float64) for part in generator.logits(tokens, chunk)])
        for chunk in (len(tokens), 1)
    ]
    for found in asked:
        if found.shape[0] != len(tokens) or found.shape[1] < size:
            raise ModelError(f"it gives logits {found.shape} where the model has {expected.shape}")
        if not np.isfinite(found[:, :size]).all():
            raise ModelError("it computes wrong numbers: the logits hold NaN or infinity")
    scale = np.sqrt(np.mean(np.square(expected)))
    return float(max(np.sqrt(np.mean(np.square(_centred(found[:, :size]) - expected))) for found in asked) / scale)


def _centred(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is added to all logits of a token changes no probability."""
    return np.asarray(logits - logits.mean(-1, keepdims=True))


def _weights(vocabulary: int) -> dict[str, NDArray[np.float16]]:
    draw = np.random.default_rng(0)
    side = _HIDDEN * _KV_HEADS // _HEADS
    shapes = {
        "self_attn.q_proj": (_HIDDEN, _HIDDEN),
        "self_attn.k_proj": (side, _HIDDEN),
        "self_attn.v_proj": (side, _HIDDEN),
        "self_attn.o_proj": (_HIDDEN, _HIDDEN),
        "mlp.gate_proj": (_HIDDEN, _HIDDEN),
        "mlp.up_proj": (_HIDDEN, _HIDDEN),
        "mlp.down_proj": (_HIDDEN, _HIDDEN),
    }
    found = {"model.embed_tokens.weight": draw.standard_normal((vocabulary, _HIDDEN))}
    for layer in range(_LAYERS):
        name = f"model.layers.{layer}"
        for part, shape in shapes.items():
            found[f"{name}.{part}.weight"] = draw.standard_normal(shape) / np.sqrt(_HIDDEN)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{name}.{norm}.weight"] = np.ones(_HIDDEN)
    found["model.norm.weight"] = np.ones(_HIDDEN)
    found["lm_head.weight"] = draw.standard_normal((vocabulary, _HIDDEN)) / np.sqrt(_HIDDEN)
    return {name: weight.astype(np.float16) for name, weight in found.items()}


def _save(file: Path, weights: dict[str, NDArray[np.float16]]) -> None:
    """As safetensors: https://github.com/huggingface/safetensors#format."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in weights.items():
        header[name] = {"dtype": "F16", "shape": weight.shape, "data_offsets": (end, end := end + weight.nbytes)}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(weight.tobytes() for weight in weights.values()))


def _tokens() -> list[str]:
    """An end, a sign for each byte (https://github.com/openai/gpt-2/blob/master/src/encoder.py has which), and a few that are merged of them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = range(256, 256 + 256 - len(shown))
    return ["<eos>", *map(chr, [*shown, *others]), *(merge.replace(" ", "") for merge in _MERGES)]


def _tokenizer(tokens: list[str]) -> dict[str, Any]:
    """Bytes that are merged, as GPT-2's (Radford et al., 2019), in the form of Hugging Face's ``tokenizers``."""
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": tokens[0], "special": True, **end}],
        "pre_tokenizer": bytewise,
        "decoder": bytewise,
        "model": {
            "type": "BPE",
            "vocab": {token: place for place, token in enumerate(tokens)},
            "merges": _MERGES,
        },
    }
