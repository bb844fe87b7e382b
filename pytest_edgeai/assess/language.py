"""Language models: what can be known of one before it is optimized. Weights are not read, only what the files say about them."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.assess import files
from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.language import checkpoint as checkpoints
from pytest_edgeai.language import gguf_file
from pytest_edgeai.language.checkpoint import CONTEXT, HEADS, TOKENIZER, VOCABULARY, Checkpoint
from pytest_edgeai.language.decoder import EXPERTS, decoder_of
from pytest_edgeai.records import Assessment, LanguageFacts, Quantizable, TensorSpec

SUPERBLOCK: Final = 256
"""Numbers of a row that the K-quants of llama.cpp quantize together."""
GROUPS: Final = (64, 32)
"""Numbers of a row that share a scale, in the int4 recipes."""
ATTENDING: Final = ("full_attention", "sliding_attention", "chunked_attention")
"""Kinds of layers that keep a key and a value of each token, as configurations list them."""
WHOLE: Final = ("float32", "float16", "bfloat16", "float64")


def read_folder(folder: Path) -> Assessment:
    """A folder as Hugging Face saves it. Raises ModelError."""
    members = files.files_of(folder)
    checkpoint = Checkpoint(folder)
    config = checkpoint.config
    size = functools.partial(checkpoints.size, config, folder)
    heads = size(*HEADS)
    experts, used = size(*EXPERTS, default=0), size("num_experts_per_tok", default=0)
    of_experts = sum(tensor.size for name, tensor in checkpoint.tensors.items() if ".experts." in name)
    total = checkpoint.parameters
    found = LanguageFacts(
        family=checkpoint.family,
        layers=size("num_hidden_layers", "n_layer"),
        hidden=size("hidden_size", "n_embd"),
        heads=heads,
        kv_heads=size("num_key_value_heads", default=heads),
        vocabulary=size(*VOCABULARY),
        context=size(*CONTEXT),
        dtype=checkpoint.dtype,
        experts=experts,
        experts_used=used,
        active_parameters=total - (of_experts * (experts - used) // experts if experts else 0),
        tied=not any(name.endswith("lm_head.weight") for name in checkpoint.tensors)
        or bool(config.get("tie_word_embeddings")),
        tokenizer=_tokenizer(folder / TOKENIZER),
        other_layers=_other_layers(config),
        unconverted=_unconverted(checkpoint),
    )
    # What has more axes are the kernels of convolutions, which nothing brings to groups.
    rows = {tensor.shape[-1] for tensor in checkpoint.tensors.values() if len(tensor.shape) in (2, 3)}
    return _assessment(
        files.digest(folder, "huggingface"),
        _bytes(members),
        total,
        found,
        _precisions(found, rows),
    )


def read_gguf(file: Path) -> Assessment:
    """A GGUF file. Raises ModelError."""
    digest = files.digest(file, "gguf")
    found, total, rows = gguf_file.facts(file)
    return _assessment(digest, _bytes([file]), total, found, _precisions(found, rows))


def _assessment(
    digest: str, size: int, parameters: int, found: LanguageFacts, precisions: dict[str, Quantizable]
) -> Assessment:
    return Assessment(
        digest=digest,
        bytes=size,
        parameters=parameters,
        macs=None,
        architecture="transformer",
        ops={},
        inputs=(TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", found.vocabulary)),),
        opset=0,
        weight_dtypes=(found.dtype,),
        precisions=precisions,
        language=found,
    )


def _bytes(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _tokenizer(file: Path) -> str:
    """What kind it is; empty where there is none. Raises ModelError for one that can't be read."""
    try:
        model: dict[str, Any] = json.loads(file.read_bytes())["model"]
        kind = str(model.get("type") or "unknown")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file} can't be read as a tokenizer ({type(error).__name__}: {error}).") from error
    return f"{kind} with bytes to fall back to" if model.get("byte_fallback") else kind


def _unconverted(checkpoint: Checkpoint) -> str:
    """Why its conversion isn't written here; empty where it is. Raises ModelError for a configuration that can't be."""
    try:
        decoder_of(checkpoint)
    except UnsupportedError as error:
        return str(error)
    return ""


def _other_layers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Kinds of layers that don't attend, as far as the configuration lists them."""
    listed = checkpoints.text_config(config).get("layer_types")
    kinds = dict.fromkeys(str(one) for one in listed) if isinstance(listed, list) else {}
    return tuple(kind for kind in kinds if kind not in ATTENDING)


def _precisions(found: LanguageFacts, rows: set[int]) -> dict[str, Quantizable]:
    """What its weights can be brought to. ``rows``: lengths of the matrices' rows."""
    names = ("fp16", "int8", *(f"int4-g{group}" for group in GROUPS), "q8_0", "k-quants")
    if found.dtype not in WHOLE:
        reason = (
            f"its weights are quantized already ({found.dtype}), and quantizing them again would lose more: give the model in 16 or 32 bits that it was "
            "made from"
        )
        return dict.fromkeys(names, Quantizable(possible=False, reason=reason))
    told = f"its matrices have rows of {', '.join(map(str, sorted(rows)))} numbers"
    verdicts = {name: Quantizable(possible=True, reason=f"its weights are {found.dtype}") for name in names}
    for name, group in {**{f"int4-g{group}": group for group in GROUPS}, "q8_0": 32, "k-quants": SUPERBLOCK}.items():
        odd = sorted(row for row in rows if row % group)
        verdicts[name] = Quantizable(
            possible=not odd,
            reason=f"{told}, of which {odd[0]} is no multiple of {group}"
            if odd
            else f"{told}, all of them multiples of {group}",
        )
    return verdicts
