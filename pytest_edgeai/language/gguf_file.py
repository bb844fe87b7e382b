"""GGUF files: what one holds, and writing one of a checkpoint of the Llama family.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The ``gguf`` package reads and writes it.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.language.checkpoint import TOKENIZER, Checkpoint
from pytest_edgeai.language.decoder import Decoder, decoder_of
from pytest_edgeai.language.tokens import Tokenizer
from pytest_edgeai.records import LanguageFacts

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter

MAGIC: Final = b"GGUF"
ARCHITECTURES: Final = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Family of a checkpoint -> what llama.cpp calls it."""
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of tokens."""


# What one holds --------------------------------------------------------------------------------------------------------------


def facts(path: Path) -> tuple[LanguageFacts, int, set[int]]:
    """What is known of the model, its number of parameters, and the lengths of its matrices' rows. Raises ModelError for a file that is damaged or no language model."""
    reader = _opened(path)
    try:
        values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
        kind = reader.fields.get("tokenizer.ggml.model")
        tokenizer = "" if kind is None else str(kind.contents())
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(
            f"{path} is damaged: its header holds values that can't be read ({type(error).__name__})."
        ) from error
    family = str(values.get("general.architecture", "unknown"))

    def size(key: str, default: int | None = None) -> int:
        value = values.get(f"{family}.{key}", default)
        if isinstance(value, list):  # one for each layer
            value = max(value, default=None)
        if not isinstance(value, int) or value < 0:
            raise ModelError(
                f"{path} is no language model that can be used: it says nothing of its {key.replace('_', ' ')}."
            )
        return value

    elements = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    total = sum(elements.values())
    if "token_embd.weight" not in elements:
        raise ModelError(
            f"{path} is no language model: it has no embeddings of tokens (a projector, or one of several files?)."
        )
    experts, used = size("expert_count", 0), size("expert_used_count", 0)
    of_experts = sum(count for name, count in elements.items() if "_exps" in name)
    heads = size("attention.head_count")
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    found = LanguageFacts(
        family=family,
        layers=size("block_count"),
        hidden=size("embedding_length"),
        heads=heads,
        kv_heads=size("attention.head_count_kv", heads),
        vocabulary=len(tokens.data) if tokens is not None else size("vocab_size"),
        context=size("context_length"),
        dtype=_main_dtype(reader),
        experts=experts,
        experts_used=used,
        active_parameters=total - (of_experts * (experts - used) // experts if experts else 0),
        tied="output.weight" not in elements,
        tokenizer=tokenizer if tokens is not None else "",
    )
    return found, total, {int(tensor.shape[0]) for tensor in reader.tensors if len(tensor.shape) > 1}


class _EndError(Exception):
    """The file ends before what it announces."""


def _opened(path: Path) -> "GGUFReader":
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(
            f"{path.name}: reading GGUF files takes the package gguf: pip install 'pytest-edgeai[llamacpp]'."
        ) from error

    class Reader(GGUFReader):  # type: ignore[misc] # the package says no types
        """The package's own reads an announced length beyond the file's end as nothing, and goes on for as long as it is."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> NDArray[Any]:
            if offset + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise _EndError
            found: NDArray[Any] = super()._get(offset, dtype, count, override_order)
            return found

    with path.open("rb") as stream:
        begin = stream.read(20)
    if begin.startswith(b"version https://git-"):
        raise ModelError(f"{path} is a Git LFS pointer, not the model itself: run `git lfs pull`.")
    if not begin.startswith(MAGIC):
        raise ModelError(f"{path} is no GGUF file: it begins with {begin[:4]!r}.")
    try:
        return Reader(path)
    except _EndError as error:
        raise ModelError(
            f"{path} is damaged: it ends before what its header announces. Is the download complete?"
        ) from error
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError) as error:
        raise ModelError(f"{path} can't be read as GGUF ({type(error).__name__}: {error}).") from error


def _main_dtype(reader: "GGUFReader") -> str:
    """That most weights have."""
    sizes: dict[str, int] = {}
    for tensor in reader.tensors:
        name = tensor.tensor_type.name.lower()
        sizes[name] = sizes.get(name, 0) + int(tensor.n_elements)
    most = max(sizes, key=lambda name: sizes[name])
    return {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}.get(most, most)


# Writing one -----------------------------------------------------------------------------------------------------------------


def write(checkpoint: Checkpoint, file: Path, splitting: str, *, vocabulary_only: bool = False) -> None:
    """The checkpoint in float16 (vectors in float32, as llama.cpp wants them).

    ``splitting``: how llama.cpp splits a text before it makes tokens of it, by its own name (``gpt-2``, ``llama-bpe``, ...), which no file of a checkpoint says.
    Raises UnsupportedError for what isn't converted here.
    """
    from gguf import GGUFWriter

    sizes = decoder_of(checkpoint)
    writer = GGUFWriter(str(file), ARCHITECTURES[sizes.family])
    _add_sizes(writer, sizes)
    _add_tokens(writer, checkpoint, sizes.vocabulary, splitting)
    weights = [] if vocabulary_only else list(_weights(checkpoint, sizes))
    for weight in weights:
        writer.add_tensor_info(weight.name, weight.shape, weight.dtype, math.prod(weight.shape) * weight.dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for weight in weights:
        writer.write_tensor_data(weight.read().astype(weight.dtype))
        checkpoint.release()
    writer.close()


def _add_sizes(writer: "GGUFWriter", sizes: Decoder) -> None:
    from gguf import LlamaFileType, RopeScalingType

    writer.add_context_length(sizes.context)
    writer.add_embedding_length(sizes.hidden)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.intermediate)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.kv_heads)
    # Not hidden / heads, which some models don't keep to.
    writer.add_key_length(sizes.head_size)
    writer.add_value_length(sizes.head_size)
    writer.add_rope_dimension_count(sizes.head_size)
    writer.add_layer_norm_rms_eps(sizes.epsilon)
    writer.add_rope_freq_base(sizes.rotation.theta)
    if sizes.rotation.kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(sizes.rotation.factor)
    writer.add_vocab_size(sizes.vocabulary)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


@dataclass(frozen=True, slots=True)
class _Weight:
    """One of the file; read when it is written, so that one at a time is in memory."""

    name: str
    """llama.cpp's."""
    shape: tuple[int, ...]
    read: Callable[[], NDArray[np.float32]]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float16 if len(self.shape) > 1 else np.float32)


def _weights(checkpoint: Checkpoint, sizes: Decoder) -> Iterator[_Weight]:
    """With llama.cpp's names, and its order of rows."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    architecture = ARCHITECTURES[sizes.family]
    names = get_tensor_name_map(MODEL_ARCH[architecture.upper()], sizes.layers)
    if sizes.rotation.kind == "llama3":  # llama.cpp takes it as a weight
        divisors = sizes.rotation.divisors(sizes.head_size).astype(np.float32)
        yield _Weight("rope_freqs.weight", divisors.shape, lambda: divisors)
    for name in checkpoint.tensors:
        if (name == "lm_head.weight" and sizes.tied) or name.endswith("rotary_emb.inv_freq"):
            continue
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise UnsupportedError(f"llama.cpp has no place for the weight {name} of a {sizes.family} model.")
        # Its rotation pairs neighbours, that of transformers the halves of a head.
        heads = {".q_proj.": sizes.heads, ".k_proj.": sizes.kv_heads} if architecture == "llama" else {}
        turned = next((count for part, count in heads.items() if part in name), 0)
        yield _Weight(theirs, checkpoint.tensors[name].shape, partial(_ordered, checkpoint, name, turned))


def _ordered(checkpoint: Checkpoint, name: str, heads: int) -> NDArray[np.float32]:
    """As the checkpoint has it, or with the rows of so many heads in another order."""
    return _interleaved(checkpoint[name], heads) if heads else checkpoint[name]


def _interleaved(array: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of each head, those of its first half and its second half in turns; of a matrix or a bias."""
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def _add_tokens(writer: "GGUFWriter", checkpoint: Checkpoint, vocabulary: int, splitting: str) -> None:
    file = checkpoint.folder / TOKENIZER
    try:
        given = json.loads(file.read_bytes())
        model = given["model"]
        if model["type"] != "BPE" or model.get("byte_fallback"):
            raise UnsupportedError(
                f"{checkpoint.folder.name} has a tokenizer of the kind {model['type']}{' with bytes to fall back to' if model.get('byte_fallback') else ''}; "
                "only byte-level BPE is converted here. A GGUF file of it, as llama.cpp's convert_hf_to_gguf.py makes one, is taken as it is."
            )
        texts, kinds = [f"[PAD{place}]" for place in range(vocabulary)], [UNUSED] * vocabulary
        added = {
            int(one["id"]): (str(one["content"]), CONTROL if one["special"] else USER_DEFINED)
            for one in given["added_tokens"]
        }
        for place, (text, kind) in {
            **{int(at): (text, NORMAL) for text, at in model["vocab"].items()},
            **added,
        }.items():
            texts[place], kinds[place] = text, kind
        merges = [" ".join(merge) if isinstance(merge, list) else str(merge) for merge in model["merges"]]
    except FileNotFoundError as error:
        raise ModelError(f"{checkpoint.folder} has no {TOKENIZER}: texts can't be turned into tokens.") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(
            f"{file} can't be read as a tokenizer of {vocabulary} tokens ({type(error).__name__}: {error})."
        ) from error
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    begin = Tokenizer(checkpoint.folder).begin
    for name, add in (("bos", writer.add_bos_token_id), ("eos", writer.add_eos_token_id)):
        number: Any = begin[0] if name == "bos" and begin else checkpoint.config.get(f"{name}_token_id")
        if isinstance(number, list):  # several may end a text
            number = number[0] if number else None
        if isinstance(number, int):
            add(number)
    writer.add_add_bos_token(bool(begin))
