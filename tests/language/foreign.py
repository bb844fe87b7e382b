"""Checkpoints of families that this package doesn't convert by itself: random weights in transformers' own models, and what those say."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.language import checkpoints
from tests.language.generators import VOCABULARY

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": checkpoints.CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_WINDOWED = {**_SIZES, "head_dim": 16, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma2": {**_WINDOWED, "query_pre_attn_scalar": 16, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0},
    "gemma3": {
        "text_config": {**_WINDOWED, "query_pre_attn_scalar": 16},
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
        "image_token_index": VOCABULARY - 1,
    },
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": VOCABULARY, "eos_token_id": 2},
    "gpt_neox": {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"},
    "granite": {**_SIZES, "logits_scaling": 2.0, "embedding_multiplier": 6.0, "residual_multiplier": 0.5},
    "lfm2": {**_SIZES, "layer_types": ["conv", "full_attention"]},
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": VOCABULARY},
    "mistral": {**_SIZES, "head_dim": 16, "sliding_window": 16},
    "mixtral": {**_SIZES, "num_local_experts": 4, "num_experts_per_tok": 2},
    "olmo2": _SIZES,
    "phi3": _SIZES,
    "smollm3": _SIZES,
}


def make(folder: Path, family: str, dtype: str = "float32", **changes: Any) -> Path:
    """As ``save_pretrained`` writes it, with a tokenizer."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(family, **{**CONFIGS[family], **changes})
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.15 * torch.randn_like(parameter))
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    checkpoints.add_tokenizer(folder, whole=True)
    return folder


def logs(folder: Path, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logarithms of probabilities, by transformers in float32."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        logits = model(torch.tensor(tokens[None]), use_cache=False).logits[0]
    return np.asarray(torch.log_softmax(logits.double(), -1).numpy())
