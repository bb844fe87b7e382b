"""Language models: what can be known of one before it is optimized. Weights are not read, only what the files say about them."""

import json
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.assess import files
from pytest_edgeai.errors import EdgeError, ModelError
from pytest_edgeai.language import gguf_file
from pytest_edgeai.language.checkpoint import TOKENIZER, Checkpoint
from pytest_edgeai.language.decoder import EXPERTS, decoder_of
from pytest_edgeai.records import Assessment, LanguageFacts, Quantizable, TensorSpec

SUPERBLOCK: Final = 256
"""Numbers of a row that the K-quants of llama.cpp quantize together."""
GROUPS: Final = (64, 32)
"""Numbers of a row that share a scale, in the int4 recipes."""
WHOLE: Final = ("float32", "float16", "bfloat16", "float64")


def read_folder(folder: Path) -> Assessment:
    """A folder as Hugging Face saves it. Raises ModelError."""
    members = files.files_of(folder)
    checkpoint = Checkpoint(folder)
    config = checkpoint.config
    # Models that see or hear have a language model inside.
    inner = config.get("text_config")
    sizes = inner if isinstance(inner, dict) else config

    def size(*names: str, default: int | None = None) -> int:
        value = next((sizes[name] for name in names if sizes.get(name) is not None), default)
        if not isinstance(value, int) or value < 0:
            raise ModelError(f"{folder} is no language model that can be used: its config.json says no {names[0]}.")
        return value

    heads = size("num_attention_heads", "n_head")
    experts, used = size(*EXPERTS, default=0), size("num_experts_per_tok", default=0)
    of_experts = sum(tensor.size for name, tensor in checkpoint.tensors.items() if ".experts." in name)
    total = checkpoint.parameters
    found = LanguageFacts(
        family=checkpoint.family,
        layers=size("num_hidden_layers", "n_layer"),
        hidden=size("hidden_size", "n_embd"),
        heads=heads,
        kv_heads=size("num_key_value_heads", default=heads),
        vocabulary=size("vocab_size"),
        context=size("max_position_embeddings", "n_positions"),
        dtype=checkpoint.dtype,
        experts=experts,
        experts_used=used,
        active_parameters=total - (of_experts * (experts - used) // experts if experts else 0),
        tied=not any(name.endswith("lm_head.weight") for name in checkpoint.tensors)
        or bool(config.get("tie_word_embeddings")),
        tokenizer=_tokenizer(folder / TOKENIZER),
    )
    try:
        decoder_of(checkpoint)
        why_not = ""
    except EdgeError as error:
        why_not = str(error)
    rows = {tensor.shape[-1] for tensor in checkpoint.tensors.values() if len(tensor.shape) > 1}
    return _assessment(
        files.digest(folder, "huggingface"),
        _bytes(members),
        total,
        found,
        _precisions(found, rows, why_not),
    )


def read_gguf(file: Path) -> Assessment:
    """A GGUF file. Raises ModelError."""
    digest = files.digest(file, "gguf")
    found, total, rows = gguf_file.facts(file)
    return _assessment(digest, _bytes([file]), total, found, _precisions(found, rows, ""))


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


def _precisions(found: LanguageFacts, rows: set[int], why_not: str) -> dict[str, Quantizable]:
    """What it can be brought to. ``rows``: lengths of the matrices' rows; ``why_not``: why this package converts it to no engine's form."""
    names = ("fp16", "int8", *(f"int4-g{group}" for group in GROUPS), "q8_0", "k-quants")
    if found.dtype not in WHOLE:
        reason = f"its weights are quantized already ({found.dtype}), and quantizing them again would lose more"
        return dict.fromkeys(names, Quantizable(possible=False, reason=reason))
    if why_not:
        return dict.fromkeys(names, Quantizable(possible=False, reason=why_not))
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
