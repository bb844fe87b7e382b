"""Checkpoints: a folder as Hugging Face's transformers save it, with its configuration, its weights and its tokenizer. Weights are read when asked for.

The format of the weights: https://github.com/huggingface/safetensors#format. The library itself gives numpy no bfloat16.
"""

import json
import math
import mmap
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
INDEX: Final = "model.safetensors.index.json"
SHIPPED: Final = (
    CONFIG,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)
"""Files that lie beside the weights, where the source has them."""
MOST_HEADER: Final = 100_000_000
"""Bytes; the safetensors library reads no longer ones either."""
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # its bits: the upper half of an F32's
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Those that weights are read in; what is quantized to fewer bits (``F8_E4M3``, ...) is none of them."""
HEADS: Final = ("num_attention_heads", "n_head")
VOCABULARY: Final = ("vocab_size",)
CONTEXT: Final = ("max_position_embeddings", "n_positions")
"""How configurations call a size; the first of these names counts."""
OTHERS: Final = "A model of another kind is exported to ONNX or to a .pt2 file first."
NAMES: Final = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a weight lies."""

    dtype: str
    """As the file has it: ``BF16``."""
    shape: tuple[int, ...]
    file: str
    begin: int
    """Byte in the file."""
    end: int

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)


class Checkpoint:
    """An opened folder. Raises ModelError where it is none, or damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _config(folder)
        self.tensors: dict[str, Tensor] = {}
        """Name -> where it lies, in the order of the names."""
        self._maps: dict[str, mmap.mmap] = {}
        for file in weight_files(folder):
            found = self._read_header(file)
            if twice := found.keys() & self.tensors.keys():
                raise ModelError(f"{folder}: the weight {min(twice)} is in two files.")
            self.tensors.update(found)
        self.tensors = dict(sorted(self.tensors.items()))

    @property
    def family(self) -> str:
        """``llama``, ``qwen2``, ...: the configuration's ``model_type``."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def parameters(self) -> int:
        """Elements of all weights."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def dtype(self) -> str:
        """That most weights have: ``bfloat16``."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
        most = max(sizes, key=lambda dtype: sizes[dtype])
        return NAMES.get(most, most.lower())

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """The weight in float32: a copy, unless the file has it so. Raises ModelError where there is none, or none of real numbers."""
        return self.rows(name, slice(None))

    def rows(self, name: str, places: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """The same of some rows alone."""
        raw, dtype = self.raw(name), self.tensors[name].dtype
        if dtype not in NAMES:
            raise ModelError(f"{self.folder}: the weight {name} is of {dtype}, not of real numbers.")
        chosen = raw[places]
        if dtype == "BF16":
            wide = chosen.astype(np.uint32)
            wide <<= 16  # in place: a matrix of embeddings may be a fifth of a model
            return wide.view(np.float32)
        return chosen.astype(np.float32, copy=False)

    def raw(self, name: str) -> NDArray[Any]:
        """The weight as the file has it, not copied; bfloat16 as its bits (uint16)."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise ModelError(f"{self.folder}: there is no weight {name} for a model of the kind '{self.family}'.")
        whole = np.frombuffer(self._maps[tensor.file], np.uint8)[tensor.begin : tensor.end]
        array: NDArray[Any] = whole.view(DTYPES[tensor.dtype]).reshape(tensor.shape)
        return array

    def release(self) -> None:
        """Give back the memory that what was read of the files takes; it is read again when it is asked for."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for data in self._maps.values():
                data.madvise(mmap.MADV_DONTNEED)

    def _read_header(self, file: Path) -> dict[str, Tensor]:
        def damaged(why: str) -> ModelError:
            return ModelError(f"{file} can't be read as weights: {why}. Is the download complete?")

        try:
            with file.open("rb") as stream:
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file can't be mapped
            raise damaged(str(error)) from error
        if data[:20].startswith(b"version https://git-"):
            raise ModelError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull`.")
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or not 2 <= length <= min(len(data) - 8, MOST_HEADER):
            raise damaged("its header is longer than the file")
        try:
            entries = json.loads(data[8 : 8 + length])
            entries.pop("__metadata__", None)
            found = {name: _tensor(entry, file.name, 8 + length) for name, entry in entries.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise damaged(f"its header is not as it must be ({type(error).__name__}: {error})") from error
        for name, tensor in found.items():
            if tensor.dtype not in DTYPES:
                raise ModelError(
                    f"{file}: the weight {name} is of {tensor.dtype}; variants are made of weights that aren't quantized yet: "
                    "give the original model in float32, float16 or bfloat16."
                )
            bytes_ = tensor.size * DTYPES[tensor.dtype].itemsize
            if not 8 + length <= tensor.begin <= tensor.end <= len(data) or tensor.end - tensor.begin != bytes_:
                raise damaged(f"the weight {name} lies outside of it")
        self._maps[file.name] = data
        return found


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the language model within another one that sees or hears; the configuration itself where there is no such part."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def size(config: Mapping[str, Any], whose: Path, *names: str, default: int | None = None) -> int:
    """A size of the language model. Raises ModelError where it has none of these names."""
    sizes = text_config(config)
    value = next((sizes[name] for name in names if sizes.get(name) is not None), default)
    if not isinstance(value, int) or value < 0:
        raise ModelError(f"{whose} is no language model that can be used: its {CONFIG} says no {names[0]}. {OTHERS}")
    return value


def no_tokenizer(name: str) -> str:
    """What to say of a folder without one."""
    return (
        f"{name} has no {TOKENIZER}, so texts can't be turned into tokens. save_pretrained of its tokenizer writes one."
    )


def ship(source: Path, folder: Path) -> None:
    """Copy what makes a folder of weights usable; what lies there already stays as it is."""
    for name in SHIPPED:
        if (source / name).is_file() and not (folder / name).exists():
            shutil.copy(source / name, folder / name)


def weight_files(folder: Path) -> list[Path]:
    """Those that the index names, or the one that there is. Raises ModelError.

    Not all that lie there: some models come a second time in another form (``consolidated.safetensors``).
    """
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} can't be read ({type(error).__name__}: {error}).") from error
        if wrong := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
            raise ModelError(f"{index} names a file outside of its folder: {wrong[0]!r}.")
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
        files = files if files[0].is_file() else sorted(folder.glob("*.safetensors"))[:1]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        told = f"it lacks {', '.join(missing)}" if missing else "it has no weights (*.safetensors)"
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        more = (
            "; weights in PyTorch's pickles may run code and are not read: save_pretrained(..., safe_serialization=True) writes safetensors"
            if pickled and not missing
            else ""
        )
        raise ModelError(f"{folder}: {told}{more}.")
    return files


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / CONFIG
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no model as Hugging Face saves it: it has no {CONFIG}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} can't be read ({error}).") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} holds no object.")
    return config


def _tensor(entry: Mapping[str, Any], file: str, offset: int) -> Tensor:
    begin, end = (int(value) for value in entry["data_offsets"])
    shape = tuple(int(size) for size in entry["shape"])
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return Tensor(str(entry["dtype"]), shape, file, offset + begin, offset + end)
