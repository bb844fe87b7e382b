"""Decoders: the sizes of a model of the Llama family, and what it computes, in numpy: what every conversion to an engine is held against.

Families: ``llama`` (also with biases), ``mistral``, ``qwen2`` and ``qwen3``, dense ones alone. Sources: Touvron et al., "LLaMA", arXiv 2302.13971; Su et al.,
"RoFormer", arXiv 2104.09864 (rotary positions); Ainslie et al., "GQA", arXiv 2305.13245 (heads that share keys).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.language.checkpoint import Checkpoint, text_config
from pytest_edgeai.records import Record

FAMILIES: Final = ("llama", "mistral", "qwen2", "qwen3")
EXPERTS: Final = ("num_local_experts", "num_experts", "n_routed_experts")
"""How configurations call the number of experts a layer has."""
INSTEAD: Final = "A GGUF file of it, as llama.cpp's convert_hf_to_gguf.py makes one, is taken as it is."
"""What to do with a model that isn't converted."""
WORDS: Final = 8192
"""Of the vocabulary whose logits are computed at a time; the matrix that makes them may be the largest of all."""


class Rotation(Record, frozen=True, kw_only=True):
    """How positions turn queries and keys."""

    theta: float
    kind: str = "default"
    """``default``, ``linear`` or ``llama3``."""
    factor: float = 1.0
    low: float = 1.0
    high: float = 1.0
    """Factors of the original context's length between which ``llama3`` goes over from the slowed frequencies to the others."""
    original: int = 0
    """Positions of the context before it was stretched."""

    def divisors(self, size: int) -> NDArray[np.float64]:
        """What each of the ``size / 2`` frequencies is divided by, because the context was stretched."""
        ones = np.ones(size // 2)
        if self.kind == "linear":
            return self.factor * ones
        if self.kind == "default":
            return ones
        lengths = 2 * math.pi / self._plain(size)
        along = (self.original / lengths - self.low) / (self.high - self.low)
        between = 1 / ((1 - along) / self.factor + along)
        slowed = np.where(lengths > self.original / self.low, self.factor, between)
        return np.where(lengths < self.original / self.high, 1.0, slowed)

    def frequencies(self, size: int) -> NDArray[np.float64]:
        """Radians a position, of each pair of a head's ``size`` numbers."""
        return self._plain(size) / self.divisors(size)

    def _plain(self, size: int) -> NDArray[np.float64]:
        return np.asarray(self.theta ** (-np.arange(0, size, 2, dtype=np.float64) / size))


class Decoder(Record, frozen=True, kw_only=True):
    """The sizes of a model that this package converts itself."""

    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    """Positions."""
    epsilon: float
    rotation: Rotation
    tied: bool
    """Whether the matrix that makes logits is that of the embeddings."""


def decoder_of(checkpoint: Checkpoint) -> Decoder:
    """Raises UnsupportedError for a model of another family, with what to do, and ModelError for a configuration that can't be."""
    config, family, name = checkpoint.config, checkpoint.family, checkpoint.folder.name
    if family not in FAMILIES or is_mixture(checkpoint):
        what = "a mixture of experts" if is_mixture(checkpoint) else f"of the family '{family}'"
        raise UnsupportedError(
            f"{name} is {what}; what is converted here are dense models of {', '.join(FAMILIES)}. {INSTEAD}"
        )
    if config.get("hidden_act", "silu") != "silu":
        raise UnsupportedError(f"{name} has the activation {config['hidden_act']}, not silu. {INSTEAD}")
    window = config.get("sliding_window") if config.get("use_sliding_window", family == "mistral") else None
    try:
        found = Decoder(
            family=family,
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            heads=int(config["num_attention_heads"]),
            kv_heads=int(config.get("num_key_value_heads") or config["num_attention_heads"]),
            head_size=int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]),
            vocabulary=int(config["vocab_size"]),
            context=int(config["max_position_embeddings"]),
            epsilon=float(config["rms_norm_eps"]),
            rotation=_rotation(config, name),
            tied="lm_head.weight" not in checkpoint or bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{checkpoint.folder}: its config.json is not that of a {family} model ({error!r})."
        ) from error
    if window is not None and int(window) < found.context:
        raise UnsupportedError(
            f"{name} attends to a window of {window} of its {found.context} positions, which is not converted here. {INSTEAD}"
        )
    least = min(
        found.layers, found.hidden, found.heads, found.kv_heads, found.head_size, found.vocabulary, found.context
    )
    if least < 1 or found.heads % found.kv_heads or found.head_size % 2:
        raise ModelError(f"{checkpoint.folder}: the sizes in its config.json don't fit together.")
    return found


def is_mixture(checkpoint: Checkpoint) -> bool:
    """Whether layers have experts, of which some work on each token."""
    sizes = text_config(checkpoint.config)
    return any(sizes.get(name) for name in EXPERTS)


def _rotation(config: Mapping[str, Any], name: str) -> Rotation:
    """transformers 5 writes ``rope_parameters``, earlier ones ``rope_theta`` and ``rope_scaling``."""
    given = dict(config.get("rope_parameters") or {})
    if not given:
        given = {"rope_theta": config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or {})}
    kind = str(given.get("rope_type", given.get("type", "default")))
    if kind not in ("default", "linear", "llama3") or float(given.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UnsupportedError(
            f"{name} has positions of the kind '{kind}', of which only default, linear and llama3 are converted here. {INSTEAD}"
        )
    return Rotation(
        theta=float(given["rope_theta"]),
        kind=kind,
        factor=float(given.get("factor", 1.0)),
        low=float(given.get("low_freq_factor", 1.0)),
        high=float(given.get("high_freq_factor", 1.0)),
        original=int(given.get("original_max_position_embeddings", 0)),
    )


def log_probabilities(checkpoint: Checkpoint, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the model says about the token after each of ``tokens``: float64 ``[len(tokens), vocabulary]``, natural logarithms.

    One layer's weights are in memory at a time; products are of float32, sums of squares and exponentials of float64.
    """
    sizes = decoder_of(checkpoint)
    angles = np.arange(len(tokens))[:, None] * sizes.rotation.frequencies(sizes.head_size)
    turn = np.tile(np.cos(angles), 2), np.tile(np.sin(angles), 2)
    later = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    embeddings = "model.embed_tokens.weight"
    x = checkpoint.rows(embeddings, tokens).astype(np.float64)
    for layer in range(sizes.layers):
        name = f"model.layers.{layer}"
        x = x + _attention(
            checkpoint,
            sizes,
            f"{name}.self_attn",
            _normed(checkpoint, f"{name}.input_layernorm", x, sizes),
            turn,
            later,
        )
        y = _normed(checkpoint, f"{name}.post_attention_layernorm", x, sizes)
        gate = _linear(checkpoint, f"{name}.mlp.gate_proj", y)
        opened = gate / (1 + np.exp(-gate.astype(np.float64))) * _linear(checkpoint, f"{name}.mlp.up_proj", y)
        x = x + _linear(checkpoint, f"{name}.mlp.down_proj", opened)
        checkpoint.release()
    x = _normed(checkpoint, "model.norm", x, sizes)
    head = embeddings if sizes.tied else "lm_head.weight"
    parts = [
        x.astype(np.float32) @ checkpoint.rows(head, slice(first, first + WORDS)).T
        for first in range(0, sizes.vocabulary, WORDS)
    ]
    logits = np.concatenate(parts, -1).astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


def _linear(checkpoint: Checkpoint, name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    product = (x.astype(np.float32) @ checkpoint[f"{name}.weight"].T).astype(np.float64)
    return product + checkpoint[f"{name}.bias"] if f"{name}.bias" in checkpoint else product


def _normed(checkpoint: Checkpoint, name: str, x: NDArray[np.float64], sizes: Decoder) -> NDArray[np.float64]:
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + sizes.epsilon) * checkpoint[f"{name}.weight"])


def _attention(
    checkpoint: Checkpoint,
    sizes: Decoder,
    name: str,
    x: NDArray[np.float64],
    turn: tuple[NDArray[np.float64], NDArray[np.float64]],
    later: NDArray[np.float64],
) -> NDArray[np.float64]:
    def heads(projection: str, norm: str, count: int) -> NDArray[np.float64]:
        split = _linear(checkpoint, f"{name}.{projection}", x).reshape(len(x), count, sizes.head_size)
        if f"{name}.{norm}.weight" in checkpoint:
            split = _normed(checkpoint, f"{name}.{norm}", split, sizes)
        return split.transpose(1, 0, 2)

    def turned(split: NDArray[np.float64]) -> NDArray[np.float64]:
        first, second = np.split(split, 2, axis=-1)
        return split * turn[0] + np.concatenate([-second, first], -1) * turn[1]

    each = sizes.heads // sizes.kv_heads
    queries = turned(heads("q_proj", "q_norm", sizes.heads))
    keys = np.repeat(turned(heads("k_proj", "k_norm", sizes.kv_heads)), each, axis=0)
    values = np.repeat(heads("v_proj", "v_norm", sizes.kv_heads), each, axis=0)
    scores = queries @ keys.transpose(0, 2, 1) / math.sqrt(sizes.head_size) + later
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = weights / weights.sum(-1, keepdims=True) @ values
    return _linear(checkpoint, f"{name}.o_proj", mixed.transpose(1, 0, 2).reshape(len(x), -1))
