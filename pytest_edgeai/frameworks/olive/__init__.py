"""Olive: tensor models by its workflows, run by ONNX Runtime; language models by its builder, run by ONNX Runtime GenAI on the CPU or on an NVIDIA GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pytest_edgeai.distributions import one_of
from pytest_edgeai.frameworks.olive import language, tensors
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.ort import offers
from pytest_edgeai.protocols import Arrays, Framework, Generator, Runner
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

NVIDIA: Final = "gpu:nvidia"
"""The accelerator, as targets and devices name it."""
_GENAI: Final = ("onnxruntime-genai", "onnxruntime-genai-cuda")
_RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")
"""For CPUs, and for GPUs too: distributions that bring the same packages."""


class Olive:
    """Of a tensor model, what Olive's passes make of it (:mod:`pytest_edgeai.frameworks.olive.tensors`), in a session of ONNX Runtime.

    Of a language model, weights are rounded in blocks of 32 that share a scale, those of matrix products alone: embeddings stay as they are.
    Olive's builder is asked for the unquantized model, and what it made is rounded after it was held against its source. Asked for 4 bits, the
    builder would do the same by the same quantizer, to a conversion that nobody has looked at: bit for bit the same, says a test.
    """

    name = "olive"
    tunes = True
    at_load = offers.AT_LOAD
    _unoptimized, _rounded = language.FP32, language.INT4

    def __init__(self) -> None:
        # The runtime is in onnxruntime; a checkpoint is read by transformers. torch, which Olive brings, hands over items and widens numbers.
        self.distributions: tuple[str, ...] = (
            "olive-ai",
            *one_of(*_GENAI),
            *one_of(*_RUNTIMES),
            "onnx",
            "transformers",
        )

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """4 bits of a language model; of a tensor model half and mixed precision, int8, and a session that is tuned."""
        if kind == "huggingface":
            return (self._rounded,)
        return tensors.CATALOGUE if kind == "onnx" else ()

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """What GenAI computes in: float32 on CPUs, float16 on GPUs. The baseline of an ONNX model is ONNX Runtime's."""
        return self._unoptimized if kind == "huggingface" else None

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
        """Where the model can't be brought to the precision, the device has no kernels for it, or the tuning can't be had."""
        if assessment.language is not None:
            return language.refusal(recipe, assessment)
        return tensors.refusal(recipe, assessment, device)

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """What it saves, or where the work is and what the CPU has for it."""
        if assessment.language is not None:
            return language.reason(recipe, self._unoptimized)
        return tensors.reason(recipe, assessment, device)

    def devices(self) -> Sequence[EngineDevice]:
        """The CPU, and what ONNX Runtime has a provider for. Olive itself isn't imported: it takes seconds, and only builds need it."""
        return (_cpu(), *(EngineDevice(name=name) for name in tensors.devices() if name != "CPU"))

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Write the artifact: ``model.onnx``, or a folder as GenAI loads it.

        Raises BuildError, ModelError where a language model has no tokenizer, and UnsupportedError for what Olive or ONNX Runtime can't take, and for a
        language model that can't be held against its source.
        """
        if model.is_dir():
            language.build(recipe, self._unoptimized, model, folder)
        else:
            tensors.build(recipe, model, folder, calibration)

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner | Generator:
        """A session of ONNX Runtime; or a language model with all weights in memory, packed for the CPU's kernels."""
        if (folder / language.CONFIG).is_file():
            return language.LanguageModel(recipe, folder, threads, on_gpu=False)
        return tensors.load(recipe, folder, threads)


class OliveCuda(Olive):
    """Olive's language models for NVIDIA GPUs, in float16; it was never run on one.

    Where none answers, the CPU computes the same graphs, in float32 between their float16 weights, so that quality and size are decided
    anywhere. Rates are not: nothing is timed for a GPU that didn't run on it.
    """

    name = "olive-cuda"
    tunes = False
    replaces = (_GENAI[0], _RUNTIMES[0])
    accelerators = (NVIDIA,)
    _unoptimized, _rounded = language.FP16, language.INT4_CUDA

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:
        """4 bits, where an NVIDIA GPU is what the target is."""
        accelerators = (one.casefold() for one in target.hardware.accelerators)
        is_its = kind == "huggingface" and any(one.startswith(NVIDIA) for one in accelerators)
        return (self._rounded,) if is_its else ()

    def devices(self) -> Sequence[EngineDevice]:
        """The CPU, and the GPU where CUDA runs."""
        return (_cpu(), *([EngineDevice(name="GPU", title="NVIDIA (CUDA)")] if language.cuda_runs() else []))

    def place(self, recipe: Recipe, device: Device) -> str:  # noqa: ARG002 - all of them
        """The GPU where there is one."""
        return "GPU" if device.lists(self.name, "GPU") else "CPU"

    def unmeasured(self, device: Device) -> str | None:
        """The CPU stands in for the GPU's arithmetic, not for its speed."""
        if self.place(self._unoptimized, device) == "GPU":
            return None
        made_for_it = _GENAI[1] in self.distributions
        how = f"pip uninstall {' '.join(self.replaces)}; pip install 'pytest-edgeai[{self.name}]'"
        why = "no driver of NVIDIA's answers" if made_for_it else f"{_GENAI[1]} is not installed ({how})"
        return f"{self.name} is made for NVIDIA GPUs, and {why}: its speed and memory on a CPU say nothing about what would be shipped."

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Generator:
        """All weights in the memory of the device that computes."""
        return language.LanguageModel(recipe, folder, threads, on_gpu=language.cuda_runs())


def _cpu() -> EngineDevice:
    import onnxruntime_genai  # noqa: F401 - that it starts is what is asked

    return EngineDevice(name="CPU")


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """Olive, for CPUs and for NVIDIA GPUs."""
    return Olive(), OliveCuda()
