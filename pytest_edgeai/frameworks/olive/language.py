"""Language models: checkpoints as ONNX, unquantized and with weights of 4 bits, run by ONNX Runtime GenAI on the CPU or on an NVIDIA GPU."""

import contextlib
import gc
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import decoder_of
from pytest_edgeai.language.tokens import Tokenizer, demand_fitting
from pytest_edgeai.records import Assessment, Recipe

FILE: Final = "model.onnx"
"""The artifact, with its weights in ``model.onnx.data`` and the tokenizer's files beside it."""
CONFIG: Final = "genai_config.json"
"""What GenAI knows of the model."""

FP32: Final = Recipe(framework="olive", precision="fp32")
INT4: Final = Recipe(
    framework="olive",
    precision="int4",
    # accuracy_level 4: the other side of a product is rounded to 8 bits, in blocks as well (ONNX Runtime's MatMulNBits).
    options={"bits": 4, "block_size": 32, "is_symmetric": True, "accuracy_level": 4},
)
# ONNX Runtime's attention on NVIDIA GPUs has kernels for half precision, and its products of rounded weights take the other side as it is.
FP16: Final = Recipe(framework="olive-cuda", precision="fp16")
INT4_CUDA: Final = Recipe(
    framework="olive-cuda", precision="int4", options={"bits": 4, "block_size": 32, "is_symmetric": True}
)
_LIKELIEST: Final = {
    "do_sample": False,
    "num_beams": 1,
    "min_length": 0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}
"""Whatever the model's authors prefer for chats."""
_PRECISIONS: Final = {
    FP32.name: "float32",
    INT4.name: "4 bits, blocks of 32, products in int8",
    FP16.name: "float16",
    INT4_CUDA.name: "4 bits, blocks of 32",
}
_WIDENED: Final = ", computed in float32"
"""What the CPU makes of half precision."""


def refusal(recipe: Recipe, assessment: Assessment) -> str | None:
    """Where it is quantized already, or can't be held against its source, or it is tuned. Rows of any length fit: the last block is filled up."""
    if recipe.tuning:
        plain = recipe.name.partition("@")[0]
        return f"ONNX Runtime GenAI runs {recipe.framework}'s language models, and isn't tuned: ask for {plain} without @{recipe.name.partition('@')[2]}."
    return assessment.why_not_converted or assessment.why_not("int8" if recipe.precision == "int4" else "fp16")


def reason(recipe: Recipe, unoptimized: Recipe) -> str:
    """What it saves."""
    bits = unoptimized.precision.removeprefix("fp")
    if recipe == unoptimized:
        return f"The model in float{bits}, in ONNX Runtime GenAI."
    return f"Each token needs all weights of its matrix products from memory, and they have 4 bits instead of {bits}."


def build(recipe: Recipe, unoptimized: Recipe, model: Path, folder: Path) -> None:
    """Write a folder as GenAI loads it. ``unoptimized``: what is held against the source before it is rounded.

    Raises BuildError, ModelError where there is no tokenizer, and UnsupportedError for a model that can't be held against its source.
    """
    checkpoint = Checkpoint(model)
    # What would be found out after minutes, or not told in a sentence.
    decoder_of(checkpoint)
    Tokenizer(model)
    try:
        with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
            plain = folder if recipe == unoptimized else Path(scratch)
            _convert(model, plain, unoptimized)
            expected = agreement.answers(checkpoint)
            # Loaded after that, and gone before the next step: each takes the whole model's memory.
            agreement.demand(
                expected,
                LanguageModel(unoptimized, plain, threads=1, on_gpu=unoptimized == FP16 and cuda_runs()),
                recipe.name,
            )
            if recipe != unoptimized:
                _quantize(plain, recipe, folder)
    except EdgeError:
        raise
    except Exception as error:
        raise BuildError(
            f"Olive can't build {recipe.name} of {model.name} ({type(error).__name__}: {' '.join(str(error).split())})."
        ) from error


class LanguageModel:
    """Satisfies :class:`pytest_edgeai.protocols.Generator`.

    Logits are GenAI's, too. A session of ONNX Runtime on the same file would need no copy of each part, but a second copy of the weights in a
    process that has generated before; and so what is scored is what is timed.
    """

    def __init__(self, recipe: Recipe, folder: Path, threads: int, *, on_gpu: bool) -> None:
        import onnxruntime_genai

        self._api: Any = onnxruntime_genai
        self._precision = _PRECISIONS[recipe.name] + ("" if on_gpu or recipe.framework == "olive" else _WIDENED)
        self._threads = threads
        options = {
            "intra_op_num_threads": threads,
            "inter_op_num_threads": 1,
            # Else idle threads spin on the cores that another engine is timed on.
            "session.force_spinning_stop": "1",
        }
        # The end of a text is a token that there isn't. An empty list would be added to the model's own, and leave that as it is.
        changed = {"model": {"eos_token_id": -1, "decoder": {"session_options": options}}, "search": _LIKELIEST}
        try:
            told = json.loads((folder / CONFIG).read_bytes())["model"]
            self.vocabulary, self.context = int(told["vocab_size"]), int(told["context_length"])
            config = self._api.Config(str(folder))
            config.overlay(json.dumps(changed))
            if not on_gpu:
                config.clear_providers()  # the CPU's is what is left
            self._model = self._api.Model(config)
        except Exception as error:
            raise BuildError(
                f"ONNX Runtime GenAI can't load {recipe.name} ({' '.join(str(error).split())})."
            ) from error

    def generate(self, prompt: NDArray[np.integer[Any]], count: int) -> Iterator[int]:
        """The prompt is computed when it is appended, each further token when the next one is asked for."""
        demand_fitting(self, prompt, count)
        generator = self._fresh(len(prompt) + count)
        generator.append_tokens(prompt.astype(np.int32))
        for _ in range(count):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    def logits(self, tokens: NDArray[np.integer[Any]], chunk: int) -> Iterator[NDArray[np.float32]]:
        """Keys and values stay in the generator between the chunks."""
        demand_fitting(self, tokens)
        generator = self._fresh(len(tokens))
        for first in range(0, len(tokens), chunk):
            generator.append_tokens(tokens[first : first + chunk].astype(np.int32))
            yield generator.get_output("logits")[0].astype(np.float32, copy=False)

    def placement(self) -> dict[str, str]:
        """What GenAI says it runs on."""
        device = str(self._model.device_type)
        return {"device": device, "precision": self._precision, "threads": str(self._threads)}

    def _fresh(self, length: int) -> Any:
        """A generator with room for so many tokens: memory for their keys and values is taken at once."""
        parameters = self._api.GeneratorParams(self._model)
        parameters.set_search_options(max_length=length)
        return self._api.Generator(self._model, parameters)


def cuda_runs() -> bool:
    """Whether this GenAI was built for CUDA, its libraries are there, and a driver answers."""
    import onnxruntime_genai

    # What it was built for, not what there is.
    if not onnxruntime_genai.is_cuda_available():
        return False
    import onnxruntime

    onnxruntime.preload_dlls()  # those that pip installed are in no folder where the system looks
    try:
        onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32), "cuda", 0)
    except RuntimeError:  # no library of CUDA's, no driver, no GPU: all of them tell it so
        return False
    return True


def _convert(model: Path, folder: Path, recipe: Recipe) -> None:
    """By Olive's pass itself: a workflow would log an exception instead of raising it, and keep the model a second time."""
    from olive.hardware.accelerator import AcceleratorSpec, Device
    from olive.model import HfModelHandler
    from olive.passes.olive_pass import create_pass_from_dict
    from olive.passes.onnx.model_builder import ModelBuilder

    # hf_remote: code that lies beside the weights would be run otherwise.
    wanted = {"precision": recipe.precision, "extra_options": {"hf_remote": False}}
    computes = (Device.GPU, "CUDAExecutionProvider") if recipe == FP16 else (Device.CPU, "CPUExecutionProvider")
    with _forgetting():
        made = create_pass_from_dict(
            ModelBuilder, wanted, disable_search=True, accelerator_spec=AcceleratorSpec(*computes)
        )
        made.run(HfModelHandler(str(model)), str(folder))
    gc.collect()  # weights lie in cycles, and the next step needs the memory
    # It writes null where the model names no end of a text, which GenAI can't read.
    config = json.loads((folder / CONFIG).read_bytes())
    config["model"] = {key: value for key, value in config["model"].items() if value is not None}
    (folder / CONFIG).write_text(json.dumps(config, indent=4))


@contextlib.contextmanager
def _forgetting() -> Iterator[None]:
    """GenAI's builder keeps every weight that it widened until the last one is written: twice a model's size in float16. Here it widens each one anew."""
    import onnxruntime_genai.models.builder  # noqa: F401 - which makes a package of what lies beside it
    from builders.base import Model
    from onnx_ir import LazyTensor, Shape
    from onnx_ir.tensor_adapters import TorchTensor, to_torch_dtype

    keeping = Model.make_initializer

    def make_initializer(builder: Any, tensor: Any, /, name: str, to: Any = None) -> None:
        if to is None:
            keeping(builder, tensor, name)
            return

        def widened() -> Any:
            return TorchTensor(tensor.to(to_torch_dtype(to)), name=name)

        value = builder.make_value(name, to, shape := Shape(tensor.shape))
        value.const_value = LazyTensor(widened, dtype=to, shape=shape, name=name)
        builder.model.graph.register_initializer(value)

    Model.make_initializer = make_initializer
    try:
        yield
    finally:
        Model.make_initializer = keeping


def _quantize(plain: Path, recipe: Recipe, folder: Path) -> None:
    """By ONNX Runtime's quantizer."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    # Weights stay in their file, which is looked for where the process is, until their turn comes.
    quantizer = MatMulNBitsQuantizer(onnx.load(plain / FILE, load_external_data=False), **recipe.options)
    with contextlib.chdir(plain):
        quantizer.process()
    onnx.load_external_data_for_model(quantizer.model.model, str(plain))
    quantizer.model.save_model_to_file(str(folder / FILE), use_external_data_format=True)
    for file in plain.iterdir():
        if not file.name.startswith(FILE):
            shutil.copy(file, folder)
