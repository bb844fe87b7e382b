"""llama.cpp: language models as GGUF files, in float16 and quantized in process."""

import contextlib
import ctypes
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.language import agreement, gguf_file
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.tokens import Tokenizer, demand_fitting, put_before
from pytest_edgeai.protocols import Arrays, Framework, Generator
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

if TYPE_CHECKING:
    from llama_cpp import Llama

FILE: Final = "model.gguf"
"""The artifact."""
APPLE: Final = "Apple (Metal)"
_MAKERS: Final = {"CUDA": "NVIDIA (CUDA)", "Metal": APPLE, "MTL": APPLE}
"""How llama.cpp calls what it was compiled for -> whose it is."""
TYPES: Final = {"q8_0": "Q8_0", "q6_k": "Q6_K", "q5_k_m": "Q5_K_M", "q4_k_m": "Q4_K_M"}
"""Precision -> the end of its name among llama.cpp's file types."""
SPLITTINGS: Final = (
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "smollm",
    "mpt",
    "default",
    "tekken",
    "deepseek-llm",
    "deepseek-coder",
    "starcoder",
    "refact",
    "falcon",
    "command-r",
    "olmo",
    "dbrx",
    "stablelm2",
    "codeshell",
)
"""Ways to split a text before it becomes tokens, as llama.cpp names them. No checkpoint says which one is its own; the one that gives the same tokens is."""
SAMPLE: Final = """def area(width: float, height=2.5e-3):\n    \"\"\"It's the user's; 1,234,567 of them — naïve café, Straße, 東京, привет 👩‍💻.\"\"\"\n\treturn width*height  # TODO:   fix!?\n\n\n
I'll say we'VE 3rd-party URLs: https://example.org/a_b?c=1&d[]=%20#e   and\ttabs,\r\nlines  \n   and 0x1F 100000 99.9% <|x|> [INST] end."""
"""Text in which ways to split differ: contractions, digits in groups, runs of blanks, other scripts."""
CONTEXT: Final = 2048
"""Tokens that are attended to at most, as far as the model can: memory for all of them is taken when it is loaded."""
ERROR: Final = 4
"""What llama.cpp calls an error among the levels of what it logs."""
BATCH: Final = 512
"""Tokens of a prompt that are computed at a time."""

_F16: Final = Recipe(framework="llamacpp", precision="f16")
_AS_IT_IS: Final = Recipe(framework="llamacpp", precision="gguf")
_CATALOGUE: Final = tuple(Recipe(framework="llamacpp", precision=precision) for precision in TYPES)
_K_QUANTS: Final = ("q6_k", "q5_k_m", "q4_k_m")


class LlamaCpp:
    """A checkpoint of the Llama family is converted here, and checked; a GGUF file is taken as it is.

    It runs on the CPU, or wholly on the GPU where it was compiled for one that is there (Metal, CUDA), which was not tried yet.
    """

    name = "llamacpp"
    distributions: tuple[str, ...] = ("llama-cpp-python", "gguf", "tokenizers")
    accelerators = ("gpu",)
    """That it can be compiled for."""

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """8 to 4 bits."""
        return _CATALOGUE if kind in ("huggingface", "gguf") else ()

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """float16, or the file as it is."""
        return {"huggingface": _F16, "gguf": _AS_IT_IS}.get(kind)

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:  # noqa: ARG002
        """Where it is quantized already, or not converted here, or its rows don't fit."""
        what = "k-quants" if recipe.precision in _K_QUANTS else recipe.precision
        return assessment.why_not_converted or assessment.why_not(what)

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:  # noqa: ARG002
        """What it saves."""
        if recipe.precision not in TYPES:
            return "The model as it is, in llama.cpp."
        bits = recipe.precision[1]
        return f"Each token needs all weights from memory, and they have {bits} bits instead of 16."

    def devices(self) -> Sequence[EngineDevice]:
        """The CPU, and what llama.cpp was built for."""
        import llama_cpp

        told = bytes(llama_cpp.llama_print_system_info()).decode(errors="replace")
        others, _, of_cpu = told.partition("CPU :")  # "CUDA : ARCHS = 900 | CPU : AVX2 = 1 | ..."
        flags = [part.partition("=") for part in of_cpu.split("|")]
        cpu = EngineDevice(
            name="CPU", capabilities=tuple(name.strip().lower() for name, _, value in flags if value.strip() == "1")
        )
        if not llama_cpp.llama_supports_gpu_offload():
            return (cpu,)
        backends = [_MAKERS.get(name, name) for name in re.findall(r"(?:^|\|)\s*(\w+) :", others)]
        return cpu, EngineDevice(name="GPU", title=", ".join(backends))

    def place(self, recipe: Recipe, device: Device) -> str:  # noqa: ARG002 - all of them
        """The GPU where it was compiled for one; Apple's has the host's memory, and its own cores are the device."""
        gpus = [one for one in device.engines.get(self.name, ()) if one.name == "GPU"]
        return "GPU" if any(set(one.title.split(", ")) - {APPLE, "BLAS"} for one in gpus) else "CPU"

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:  # noqa: ARG002 - nothing is calibrated
        """Write ``model.gguf``. Raises BuildError, or UnsupportedError for a model that isn't converted here."""
        file = folder / FILE
        with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
            try:
                source = model
                if model.is_dir():
                    source = file if recipe == _F16 else Path(scratch) / FILE
                    _convert(Checkpoint(model), source, recipe.name)
                if recipe.precision in TYPES:
                    _quantize(source, file, TYPES[recipe.precision], recipe.name)
                elif source != file:
                    shutil.copy(source, file)
            except EdgeError:
                raise
            except Exception as error:
                raise BuildError(
                    f"llama.cpp can't build {recipe.name} of {model.name} ({type(error).__name__}: {error})."
                ) from error

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Generator:  # noqa: ARG002 - the file says how it is quantized
        """Mapped, with memory for all tokens that may be attended to."""
        return _Model(folder / FILE, threads)

    def tokenizer(self, model: Path) -> "_Vocabulary":
        """Of a GGUF file, without its weights. Raises BuildError."""
        return _Vocabulary(_opened(model, vocab_only=True))


class _Vocabulary:
    """Satisfies :class:`pytest_edgeai.protocols.Tokenizer`; what looks like a special token is text."""

    def __init__(self, opened: "Llama") -> None:
        self._opened = opened
        self.size = int(opened.n_vocab())
        self.begin = put_before(self.encode("a").tolist(), opened.tokenize(b"a", add_bos=True, special=False))
        marks = (int(number) for number in (opened.token_bos(), opened.token_eos()))
        self.mark = next((number for number in marks if number >= 0), None)

    def encode(self, text: str) -> NDArray[np.int32]:
        """As llama.cpp does, without any that mark the text's begin or end."""
        return np.array(self._opened.tokenize(text.encode(), add_bos=False, special=False), np.int32)


class _Model:
    """Satisfies :class:`pytest_edgeai.protocols.Generator`."""

    def __init__(self, file: Path, threads: int) -> None:
        import llama_cpp

        self._api: Any = llama_cpp
        header = _opened(file, vocab_only=True).metadata
        self._trained = int(header[f"{header['general.architecture']}.context_length"])
        self.context = min(CONTEXT, self._trained)
        self._on_gpu = bool(llama_cpp.llama_supports_gpu_offload())
        self._llama = _opened(
            file,
            n_ctx=self.context,
            n_batch=BATCH,
            n_ubatch=BATCH,
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=-1 if self._on_gpu else 0,  # all, as a deployment would
        )
        self._threads = threads
        self.vocabulary = int(self._llama.n_vocab())
        self._one = (llama_cpp.llama_token * 1)()

    def generate(self, prompt: NDArray[np.integer[Any]], count: int) -> Iterator[int]:
        """The likeliest token, again and again."""
        demand_fitting(self, prompt, count)
        context, logits = self._fresh(), self._api.llama_get_logits_ith
        for first in range(0, len(prompt), BATCH):
            part = prompt[first : first + BATCH]
            tokens = (self._api.llama_token * len(part))(*part.tolist())
            self._decode(self._api.llama_batch_get_one(tokens, len(part)))
        for left in range(count - 1, -1, -1):
            token = int(np.ctypeslib.as_array(logits(context, -1), (self.vocabulary,)).argmax())
            yield token
            if left:
                self._one[0] = token
                self._decode(self._api.llama_batch_get_one(self._one, 1))

    def logits(self, tokens: NDArray[np.integer[Any]], chunk: int) -> Iterator[NDArray[np.float32]]:
        """Chunk by chunk, for all logits at once may take gigabytes."""
        demand_fitting(self, tokens)
        context, size = self._fresh(), min(chunk, BATCH)
        batch = self._api.llama_batch_init(size, 0, 1)
        try:
            for first in range(0, len(tokens), size):
                part = tokens[first : first + size].tolist()
                batch.n_tokens = len(part)
                for place, token in enumerate(part):
                    batch.token[place], batch.pos[place] = token, first + place
                    batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
                self._decode(batch)
                yield np.ctypeslib.as_array(self._api.llama_get_logits(context), (len(part), self.vocabulary))
        finally:
            self._api.llama_batch_free(batch)

    def placement(self) -> dict[str, str]:
        """What the file says of its weights."""
        buffer = ctypes.create_string_buffer(256)
        self._api.llama_model_desc(self._llama.model, buffer, len(buffer))
        return {
            "device": "GPU" if self._on_gpu else "CPU",
            "precision": buffer.value.decode(errors="replace"),
            "threads": str(self._threads),
            "context": f"{self.context} of {self._trained} tokens",
        }

    @property
    def begin(self) -> Sequence[int]:
        """As :class:`pytest_edgeai.protocols.Encoding` has it."""
        return _Vocabulary(self._llama).begin

    def encode(self, text: str) -> NDArray[np.int32]:
        """The tokens of a text as llama.cpp finds them."""
        return _Vocabulary(self._llama).encode(text)

    def _fresh(self) -> Any:
        """The context, with nothing in it."""
        context = self._llama.ctx
        self._api.llama_memory_clear(self._api.llama_get_memory(context), True)
        return context

    def _decode(self, batch: Any) -> None:
        if code := self._api.llama_decode(self._llama.ctx, batch):
            raise BuildError(f"llama.cpp can't decode (llama_decode: {code}).")


def _opened(file: Path, **options: Any) -> "Llama":
    from llama_cpp import Llama

    with _heard() as said:
        try:
            return Llama(str(file), verbose=False, **options)
        except (ValueError, RuntimeError) as error:
            raise BuildError(f"llama.cpp can't load {file.name}: {said() or error}.") from error


@contextlib.contextmanager
def _heard() -> Iterator[Callable[[], str]]:
    """Nothing that llama.cpp says reaches the terminal meanwhile; what is handed out tells the first of its errors."""
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    errors: list[str] = []

    def hear(level: int, text: bytes, _: Any) -> None:
        if level == ERROR:
            errors.append(text.decode(errors="replace").strip())

    ours = llama_cpp.llama_log_callback(hear)  # kept here, for the library holds no reference
    llama_cpp.llama_log_set(ours, ctypes.c_void_p(0))
    try:
        yield lambda: errors[0].rstrip(".") if errors else ""
    finally:
        llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))


def _convert(checkpoint: Checkpoint, file: Path, name: str) -> None:
    """As float16, with the way to split texts that gives the source's own tokens, and held against the source."""
    gguf_file.write(checkpoint, file, _splitting(checkpoint, name))
    agreement.demand(agreement.answers(checkpoint), _Model(file, threads=1), name)


def _splitting(checkpoint: Checkpoint, name: str) -> str:
    """Raises BuildError where none gives the same tokens."""
    own = Tokenizer(checkpoint.folder).encode(SAMPLE).tolist()
    with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
        for splitting in SPLITTINGS:
            file = Path(scratch) / f"{splitting}.gguf"
            gguf_file.write(checkpoint, file, splitting, vocabulary_only=True)
            if _opened(file, vocab_only=True).tokenize(SAMPLE.encode(), add_bos=False, special=False) == own:
                return splitting
    raise BuildError(
        f"{name}: no way that llama.cpp has to split a text gives the tokens of the model's own tokenizer, so its tokens are others: "
        "the conversion of its tokenizer is wrong. A GGUF file of it, as llama.cpp's convert_hf_to_gguf.py makes one, is taken as it is."
    )


def _quantize(source: Path, file: Path, kind: str, name: str) -> None:
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    with _heard() as said:
        if code := llama_cpp.llama_model_quantize(bytes(source), bytes(file), ctypes.byref(settings)):
            told = said() or f"llama_model_quantize: {code}"
            raise BuildError(f"{name}: llama.cpp can't quantize to {kind} ({told}).")


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """llama.cpp."""
    return (LlamaCpp(),)
