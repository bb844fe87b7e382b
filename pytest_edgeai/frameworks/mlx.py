"""Apple MLX: language models in float16, and quantized to 8 and 4 bits. It runs on Linux, too, where its speed says nothing about Apple silicon."""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint, ship
from pytest_edgeai.language.decoder import decoder_of
from pytest_edgeai.language.tokens import demand_fitting
from pytest_edgeai.protocols import Arrays, Framework, Generator
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

_FP16: Final = Recipe(framework="mlx", precision="fp16")
_CATALOGUE: Final = tuple(
    Recipe(framework="mlx", precision=f"int{bits}", method=f"g{group}", options={"bits": bits, "group_size": group})
    for bits, group in ((8, 64), (4, 64), (4, 32))
)


class Mlx:
    """Weights are quantized in groups of a row that share a scale and an offset ("affine").

    On a CPU all is computed in float32: its kernels multiply quantized numbers with float16 ones some thirty times as slowly (0.32 s a token of a model of
    10 million parameters). Texts are read with the same weights, dequantized. The whole numbers are the same.
    """

    name = "mlx"
    distributions: tuple[str, ...] = ("mlx", "mlx-lm")

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """8 and 4 bits."""
        return _CATALOGUE if kind == "huggingface" else ()

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """float16."""
        return _FP16 if kind == "huggingface" else None

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:  # noqa: ARG002
        """Where it isn't converted here, or its rows don't fit."""
        # What doesn't fit into groups stays float16 in silence, whatever its bits were to be.
        return assessment.why_not_converted or assessment.why_not(f"int4-{recipe.method}" if recipe.method else "fp16")

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:  # noqa: ARG002
        """What it saves."""
        if recipe == _FP16:
            return "The model in float16, in MLX."
        return f"Each token needs all weights from memory, and they have {recipe.options['bits']} bits instead of 16."

    def devices(self) -> Sequence[EngineDevice]:
        """What it runs on unless told otherwise: the GPU of Apple silicon, else the CPU."""
        import mlx.core as mx

        return (EngineDevice(name=_device(mx)),)

    def unmeasured(self, device: Device) -> str | None:
        """Without Apple's GPU it is another program, with kernels that nobody tuned."""
        if device.lists(self.name, "GPU"):
            return None
        return "MLX is made for Apple silicon: its speed and memory on another CPU say nothing about what would be shipped."

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:  # noqa: ARG002 - nothing is calibrated
        """Write a folder as ``mlx_lm`` loads it. Raises BuildError, or UnsupportedError for a model that isn't converted here."""
        import mlx.core as mx
        from mlx_lm.utils import load_model, quantize_model, save_config, save_model

        checkpoint = Checkpoint(model)
        decoder_of(checkpoint)  # which refuses what couldn't be checked
        try:
            network, config = load_model(model, lazy=True)
            _cast(network, mx.float16)
            config["dtype"] = config["torch_dtype"] = "float16"
            agreement.demand(agreement.answers(checkpoint), _Model(network, config), recipe.name)
            if "bits" in recipe.options:
                group, bits = (int(recipe.options[key]) for key in ("group_size", "bits"))
                network, config = quantize_model(network, config, group, bits)
            save_model(folder, network)
            save_config(config, config_path=folder / "config.json")
        except EdgeError:
            raise
        except Exception as error:
            raise BuildError(
                f"MLX can't build {recipe.name} of {model.name} ({type(error).__name__}: {error})."
            ) from error
        ship(model, folder)

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Generator:  # noqa: ARG002 - it decides itself
        """All weights in memory."""
        import mlx.core as mx
        from mlx_lm.utils import load_model

        network, config = load_model(folder, lazy=True)
        quantized = "bits" in recipe.options
        reader = functools.partial(_dequantized, folder) if quantized and _device(mx) == "CPU" else None
        return _Model(prepare(network, quantized=quantized), config, reader)


class _Model:
    """Satisfies :class:`pytest_edgeai.protocols.Generator`."""

    def __init__(self, network: Any, config: dict[str, Any], reader: Callable[[], Any] | None = None) -> None:
        """``reader``: makes the network that reads texts, where it is another."""
        import mlx.core as mx
        from mlx_lm.models import cache

        self._mx, self._cache = mx, cache
        self._network, self._config = network, config
        self._make_reader = reader
        # Work on a CPU is done by one thread a stream.
        self.readers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") and _device(mx) == "CPU" else 1
        self._streams, self._making, self._made = threading.local(), threading.Lock(), None
        self.vocabulary, self.context = int(config["vocab_size"]), int(config["max_position_embeddings"])

    def generate(self, prompt: NDArray[np.integer[Any]], count: int) -> Iterator[int]:
        """As ``mlx_lm`` generates: the next token is computed while this one is handed out."""
        from mlx_lm.generate import generate_step

        demand_fitting(self, prompt, count)
        tokens = self._mx.array(prompt.astype(np.int32))
        for token, _ in generate_step(tokens, self._network, max_tokens=count):
            yield int(token)
        self._mx.synchronize()  # a further step was begun before the last token was handed out

    def logits(self, tokens: NDArray[np.integer[Any]], chunk: int) -> Iterator[NDArray[np.float32]]:
        """With a cache of keys and values between the chunks."""
        demand_fitting(self, tokens)
        network, mx = self._reader, self._mx
        kept = self._cache.make_prompt_cache(network)
        for first in range(0, len(tokens), chunk):
            with mx.stream(self._stream()):
                part = mx.array(tokens[None, first : first + chunk].astype(np.int32))
                found = np.array(network(part, cache=kept)[0].astype(mx.float32))
            yield found

    def _stream(self) -> Any:
        """Of this thread."""
        if not hasattr(self._streams, "own"):
            self._streams.own = self._mx.new_stream(self._mx.default_device())
        return self._streams.own

    @property
    def _reader(self) -> Any:
        """The network that reads texts, made by the first thread that does."""
        with self._making:
            if self._made is None:
                self._made = self._make_reader() if self._make_reader is not None else self._network
        return self._made

    def placement(self) -> dict[str, str]:
        """What it runs on, and how many bits the weights have."""
        quantized = self._config.get("quantization")
        precision = f"{quantized['bits']} bits, groups of {quantized['group_size']}" if quantized else "float16"
        if self._make_reader is not None:
            precision += ", dequantized where texts are read"
        computed = ", computed in float32" if _device(self._mx) == "CPU" else ""
        return {"device": _device(self._mx), "precision": precision + computed}


def _cast(network: Any, dtype: Any) -> None:
    """All real numbers of a network's parameters; what is quantized keeps its whole numbers."""
    import mlx.core as mx
    from mlx.utils import tree_map

    def cast(array: Any) -> Any:
        return array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) else array

    network.update(tree_map(cast, network.parameters()))


def prepare(network: Any, *, quantized: bool) -> Any:
    """The network that is run on this device, made of one that was read from a folder."""
    import mlx.core as mx

    if _device(mx) == "CPU":
        if not quantized:
            return _by_columns(network)
        _cast(network, mx.float32)
    mx.eval(network.parameters())
    return network


def _dequantized(folder: Path) -> Any:
    """The network of a quantized variant with the weights that its numbers stand for, by columns."""
    from mlx_lm.utils import dequantize_model, load_model

    return _by_columns(dequantize_model(load_model(folder, lazy=True)[0]))


def _by_columns(network: Any) -> Any:
    """In float32, weights in memory by columns: the matrix product of MLX' package for Linux takes half the time with those."""
    import mlx.core as mx
    import mlx.nn as nn

    _cast(network, mx.float32)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight = mx.contiguous(module.weight.T).T
            mx.eval(module.weight)  # one after the other, so that its source can go
    mx.eval(network.parameters())
    return network


def _device(mx: Any) -> str:
    return "GPU" if mx.default_device().type == mx.DeviceType.gpu else "CPU"


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """MLX."""
    return (Mlx(),)
