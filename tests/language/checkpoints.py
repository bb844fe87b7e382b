"""Checkpoints with random weights, small enough to be made when a test asks for them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_SIZE, LAYERS, VOCABULARY, CONTEXT = 64, 96, 4, 2, 16, 2, 80, 128
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_SIZE,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
STRETCHED = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama-tied": {**LLAMA, "tie_word_embeddings": True},
    "llama-biases": {**LLAMA, "attention_bias": True, "mlp_bias": True},
    "llama-llama3": {**LLAMA, "rope_scaling": STRETCHED},
    "llama-linear": {**LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama-all-heads": {**LLAMA, "num_key_value_heads": HEADS},
    "mistral": {**LLAMA, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None},
    "qwen2": {**LLAMA, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 32},
}
DTYPES = {"F32": np.float32, "F16": np.float16}


def weights_of(config: Mapping[str, Any], seed: int = 5) -> dict[str, NDArray[np.float32]]:
    """Random ones, large enough that errors show."""
    draw = np.random.default_rng(seed)
    family, heads, kv_heads, size = (
        config[key] for key in ("model_type", "num_attention_heads", "num_key_value_heads", "head_dim")
    )
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, NDArray[np.float32]] = {}

    def add(name: str, *shape: int, scale: float = 0.15, around: float = 0.0) -> None:
        found[name] = (around + scale * draw.standard_normal(shape)).astype(np.float32)

    add("model.embed_tokens.weight", config["vocab_size"], hidden, scale=1.0)
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        projections = {
            "self_attn.q_proj": (heads * size, hidden),
            "self_attn.k_proj": (kv_heads * size, hidden),
            "self_attn.v_proj": (kv_heads * size, hidden),
            "self_attn.o_proj": (hidden, heads * size),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        for part, shape in projections.items():
            add(f"{name}.{part}.weight", *shape)
            biased = config.get("attention_bias") if "self_attn" in part else config.get("mlp_bias")
            if biased or (family == "qwen2" and part[-6:-5] in "qkv"):
                add(f"{name}.{part}.bias", shape[0], scale=0.5)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            add(f"{name}.{norm}.weight", hidden, scale=0.2, around=1.0)
        if family == "qwen3":
            for norm in ("q_norm", "k_norm"):
                add(f"{name}.self_attn.{norm}.weight", size, scale=0.2, around=1.0)
    add("model.norm.weight", hidden, scale=0.2, around=1.0)
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", config["vocab_size"], hidden)
    return found


def save(folder: Path, config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]], dtype: str = "F32") -> Path:
    """As transformers save it, without a tokenizer; ``dtype`` as safetensors call it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    save_weights(folder / "model.safetensors", weights, dtype)
    return folder


def save_weights(file: Path, weights: Mapping[str, NDArray[Any]], dtype: str = "F32") -> None:
    """One file; bfloat16 is rounded to zero."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts, end = [], 0
    for name, array in weights.items():
        data = (array.view(np.uint32) >> 16).astype(np.uint16) if dtype == "BF16" else array.astype(DTYPES[dtype])
        parts.append(data.tobytes())
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # as the library aligns what follows
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def make(folder: Path, kind: str, **changes: Any) -> Path:
    """One of ``CONFIGS``, in float32."""
    config = {**CONFIGS[kind], **changes}
    return save(folder, config, weights_of(config))


def add_tokenizer(folder: Path, *, whole: bool = False, **parts: Any) -> None:
    """Of some forty tokens, fewer than there are embeddings; ``whole``: of 320, which every text has. ``parts``: what else it has, as its attributes are called."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet() if whole else []
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320 if whole else 40,
        special_tokens=["<|end|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["hello world, hold the door; 1234567 it's   THE 99%"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
