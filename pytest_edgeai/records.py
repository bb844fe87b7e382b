"""Records: the frozen facts that the stages hand to each other, and that reach the disk and the wire.

Units are base units (seconds, bytes, ratios) unless a field says otherwise. Digests are lower-case SHA-256 hex.
"""

import enum
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from pytest_edgeai.errors import Undecided
from pytest_edgeai.units import show

SCHEMA = 3
"""Version of what is written to disk; part of every cache key and of ``results.json``."""

ModelKind = Literal["onnx", "huggingface", "gguf"]
"""What form a model's source has."""
Origin = Literal["program", "function", "transformers"]
"""Where a model comes from that PyTorch has: a file of ``torch.export.save``, a function of the user's, a folder of Hugging Face's transformers."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen record; equal when all fields are equal."""


# Where it will run -----------------------------------------------------------------------------------------------------------


class EngineDevice(Record, frozen=True, kw_only=True):
    """One device as a framework lists it."""

    name: str
    """The framework's own name: ``CPU``, ``GPU.0``, ``CPUExecutionProvider``."""
    title: str = ""
    """The full name, where the framework tells it."""
    capabilities: tuple[str, ...] = ()
    """What the framework says the device can do, lower case: ``bf16``, ``int8``, ``fp16``."""


class Device(Record, frozen=True, kw_only=True):
    """A machine that is really there, as detected."""

    name: str
    """Short and stable, for verdicts and file names: ``intel-xeon-2c``."""
    system: str
    """``linux``, ``darwin``, ``windows``, ``android``, ``ios``."""
    architecture: str
    """``x86_64``, ``arm64``, ..."""
    vendor: str
    """Of the CPU: ``intel``, ``amd``, ``apple``, ``arm``, ``generic``."""
    cpu: str
    """The CPU's brand string."""
    features: tuple[str, ...]
    """The instruction-set extensions that matter to inference, sorted: ``avx2``, ``avx512_vnni``, ``asimddp``."""
    cores: int
    """Usable by this process."""
    memory_bytes: int
    accelerators: tuple[str, ...] = ()
    """Beside the CPU, as ``gpu:NVIDIA H100``, ``npu:Intel AI Boost``."""
    engines: dict[str, tuple[EngineDevice, ...]] = {}
    """Framework name -> the devices that it lists. Filled by :func:`pytest_edgeai.pipeline` in a worker; empty until then."""
    environment: dict[str, str] = {}
    """Facts that explain noise: ``governor``, ``virtualisation``, ``kernel``, ``python``; absent where not readable."""

    @property
    def fewer_threads(self) -> tuple[int, ...]:
        """One, and half of the cores, as far as these are fewer."""
        return tuple(dict.fromkeys(count for count in (1, self.cores // 2) if 0 < count < self.cores))

    def lists(self, framework: str, name: str) -> bool:
        """Whether a framework lists a device of this name: ``GPU``."""
        return any(one.name == name for one in self.engines.get(framework, ()))


class Limits(Record, frozen=True, kw_only=True):
    """What a target demands of a variant. ``None``: no limit."""

    accuracy_kept: float = 0.95
    """The least share of the reference's accuracy."""
    speedup: float = 2.0
    """The least speed-up over the baseline."""
    footprint: float = 0.5
    """The largest share of the baseline's own footprint."""
    perplexity: float = 1.05
    """Of a language model, the largest ratio to the reference's perplexity."""
    kl_divergence: float = 0.1
    """Of a language model, the largest mean divergence from the reference, in nats a token."""
    ttft: float | None = None
    """Of a language model, seconds to the first token at most."""
    package: int | None = None
    """Bytes of the artifact at most."""
    memory_bytes: int | None = None
    """Of the process' peak at most."""
    power_watts: float | None = None
    """While calls are made, at most."""
    offline: bool = False
    """The device has no network when it runs."""


class Hardware(Record, frozen=True, kw_only=True):
    """Which devices are of a target: every field that is not empty must match."""

    architectures: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    """Prefixes of :attr:`Device.accelerators`, one of which must be there: ``gpu:nvidia``, ``tpu``."""


class Target(Record, frozen=True, kw_only=True):
    """The class of hardware that is deployed to."""

    name: str
    title: str
    frameworks: tuple[str, ...]
    """In order of preference for tensor models: an order and a tie-break, never a filter."""
    language_frameworks: tuple[str, ...] = ()
    """The same for language models, where it differs."""
    hardware: Hardware = Hardware()
    stand_in: Hardware | None = None
    """Devices that run the same instruction set and may stand in for this target when the user says so."""
    specificity: int = 0
    """``auto`` takes the target with the greatest one that this device is of."""
    limits: Limits = Limits()
    remarks: tuple[str, ...] = ()
    """Sentences to show whenever this target is used."""

    def __repr__(self) -> str:
        """Short: pytest shows a failed test's arguments."""
        return f"<target {self.name}>"

    refuses: dict[str, str] = {}
    """Framework -> why it can't execute on this hardware, and what to do instead; none of its recipes is built for this target."""


# What it is made of ----------------------------------------------------------------------------------------------------------


class Model(Record, frozen=True, kw_only=True):
    """The source of a model."""

    name: str
    """For people: the file's stem."""
    path: str
    kind: ModelKind
    digest: str
    """Of the bytes of every file that makes up the model."""


class TensorSpec(Record, frozen=True, kw_only=True):
    """One input or output."""

    name: str
    dtype: str
    """A numpy dtype name: ``float32``."""
    shape: tuple[int | str, ...]
    """A string is a dynamic axis' name."""


TIME: Final = re.compile(r"^(?!.*batch).*(seq|time|len|tok|step|frame|word)|^[tsl]$")
"""Names of axes that are time or the places of a sequence, in lower case."""


def has_batch_axis(spec: TensorSpec) -> bool:
    """Whether the first axis can hold several items: it is dynamic, and isn't named like time (``seq_len``, ``frames``, ``T``)."""
    first = spec.shape[0] if spec.shape else 1
    nameless = first == f"{spec.name}:0"
    return isinstance(first, str) and (nameless or not TIME.search(first.lower()))


class Quantizable(Record, frozen=True, kw_only=True):
    """Whether a model can be brought to a precision, and why."""

    possible: bool
    reason: str


class LanguageFacts(Record, frozen=True, kw_only=True):
    """What is known of a language model beside what is known of every model."""

    family: str
    """As its file calls it: ``llama``, ``qwen2``."""
    layers: int
    hidden: int
    """Numbers that stand for a token between layers."""
    heads: int
    kv_heads: int
    """That keep keys and values."""
    vocabulary: int
    """Rows of the embeddings, which may be more than there are tokens."""
    context: int
    """Tokens that it was made for at most."""
    dtype: str
    """Of most weights: ``bfloat16``, ``q4_k``."""
    experts: int = 0
    """Of each layer; 0 for a dense model."""
    experts_used: int = 0
    """For each token."""
    active_parameters: int
    """That work on each token; all of them, but for a mixture of experts."""
    tied: bool
    """Whether embeddings also make the logits."""
    tokenizer: str = ""
    """What kind it is: ``byte-level BPE``; empty where there is none."""
    other_layers: tuple[str, ...] = ()
    """Kinds of its layers that don't attend: ``conv``."""
    unconverted: str = ""
    """Why it isn't converted here without its own program, and what to do instead, in sentences; empty where it is."""


class Assessment(Record, frozen=True, kw_only=True):
    """What is known of a model before it is optimized, read without any runtime."""

    digest: str
    bytes: int
    parameters: int
    macs: int | None
    """Multiply-accumulates a call at batch 1, of convolutions and matrix products; ``None`` where shapes are not known."""
    architecture: str
    """``convolutional``, ``transformer``, ``recurrent``, ``trees`` or ``dense``."""
    ops: dict[str, int]
    """Operator type -> how many, most frequent first."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    producer: str = ""
    weight_dtypes: tuple[str, ...] = ()
    precisions: dict[str, Quantizable] = {}
    """``fp16``, ``bf16``, ``int8-static``, ``int8-dynamic`` -> whether it makes sense."""
    language: LanguageFacts | None = None
    """For language models alone."""

    def why_not(self, precision: str) -> str | None:
        """Why it can't be brought to a precision, in a sentence; ``None`` where it can, or nothing speaks against it."""
        verdict = self.precisions.get(precision)
        return None if verdict is None or verdict.possible else f"{verdict.reason[:1].upper()}{verdict.reason[1:]}."

    @property
    def why_not_converted(self) -> str | None:
        """Why a language model isn't converted here without its own program, in sentences that say what to do instead; ``None`` where it is."""
        return (self.language.unconverted if self.language is not None else "") or None

    @property
    def why_no_batches(self) -> str | None:
        """Why a call can't have more than one item, in a sentence; ``None`` where it can."""
        spec = next((spec for spec in self.inputs if not has_batch_axis(spec)), None)
        if spec is None:
            return None
        shape = ", ".join(str(axis) for axis in spec.shape)
        return (
            f"The model's input '{spec.name}' [{shape}] has no batch of any size as its first axis; "
            "export it with a dynamic batch axis."
        )

    @property
    def dynamic_axes(self) -> tuple[str, ...]:
        """Names of the axes without a fixed size, in the order of the inputs."""
        return tuple(dict.fromkeys(axis for spec in self.inputs for axis in spec.shape if isinstance(axis, str)))

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the inputs are (:func:`modality`), each once, in their order: ``("image", "text")`` is a multi-modal model.

        Numbers alone stand beside what has a modality (a threshold, an image's size): they count where there is nothing else, or where
        they are a row of two or more real numbers.
        """
        found = [(modality(spec), spec) for spec in self.inputs]
        main = [kind for kind, spec in found if kind and (kind != "tabular" or _row(spec))]
        return tuple(dict.fromkeys(main or [kind for kind, _ in found if kind] or ["tabular"]))


_BY_NAME: Final = (
    ("", re.compile(r"mask|past|cache|position|token_type|segment|len|state|(^|_)[hc]_?[0n]?$")),
    ("audio", re.compile(r"audio|wav|speech|mel|spectro|fbank|input_values|input_features|sound")),
    ("video", re.compile(r"video|clip_frames")),
    ("image", re.compile(r"image|img|pixel|photo|picture|rgb")),
    ("text", re.compile(r"input_ids|token|text|word|prompt|sentence")),
)
"""Modality -> what the names of its inputs say; the first that fits. Those without one belong to other inputs: masks, positions, states."""


def modality(spec: TensorSpec) -> str:
    """What an input is: ``image``, ``video``, ``audio``, ``text``, ``sequence``, ``tabular``; empty for what belongs to another input.

    By its name where it tells. Else by its shape: rank 5 is a video, rank 4 an image; real numbers of rank 3 are a sequence of vectors; whole numbers
    of rank 2 with a dynamic second axis are the tokens of a text; everything else is tabular.
    """
    name, rank = spec.name.lower(), len(spec.shape)
    for kind, pattern in _BY_NAME:
        if pattern.search(name):
            return kind
    if rank >= 4:
        return "video" if rank == 5 else "image"
    if "float" in spec.dtype:
        return "sequence" if rank == 3 else "tabular"
    return "text" if "int" in spec.dtype and rank == 2 and isinstance(spec.shape[1], str) else "tabular"


def _row(spec: TensorSpec) -> bool:
    """Whether it is a row of a table rather than a number or two beside something else."""
    return "float" in spec.dtype and len(spec.shape) == 2 and spec.shape[1] != 1


class Conversion(Record, frozen=True, kw_only=True):
    """How a model of PyTorch became the ONNX file that is studied, and how far the two are apart."""

    source: str
    """The path that was given."""
    origin: Origin
    architecture: str
    """The class of the module: ``ViTForImageClassification``; empty for a program, which has none."""
    exporter: str
    """``torch.onnx.export(dynamo=True)``"""
    opset: int
    versions: dict[str, str]
    """Of what it was converted and checked with."""
    difference: float
    """The largest one between an output's numbers here and there, as a share of the range of that output's numbers."""
    output: str
    """The one in which it is."""
    limit: float
    """What the difference is at most in a conversion that is taken."""
    batches: tuple[int, ...]
    """Items of the calls that both were compared in; 0: there is no dynamic batch."""
    axes: tuple[str, ...] = ()
    """Dynamic ones, ``batch`` first where the model takes any number of items."""
    fixed: dict[str, str] = {}
    """Axis that could be expected to be dynamic and isn't, ``batch`` above all, and why."""


class Recipe(Record, frozen=True, kw_only=True):
    """How a variant is made. It is data, and part of the variant's identity."""

    framework: str
    precision: str
    """``fp32``, ``fp16``, ``bf16``, ``int8``, ..."""
    method: str = ""
    """What tells apart recipes of one precision: ``static``, ``dynamic``."""
    options: dict[str, str | int | float | bool] = {}
    sparsity: float = 0.0
    """Share of each layer's weights that is set to zero before anything else, as the user asked by name: 0.2 is ``-pruned20``."""
    calibrated: bool = False
    """Whether building needs calibration items."""
    needs: tuple[str, ...] = ()
    """Instruction-set extensions of which one must be there for this recipe to be fast; empty: any CPU will do."""
    tuning: dict[str, str | int] = {}
    """How the engine is to run it, as the user asked by name: ``threads`` and ``batch`` (numbers), ``hint`` (``latency``,
    ``throughput``), ``device`` (``CPU``, ``GPU``, ...), ``precision`` (what it computes in: ``f32``, ``bf16``, ``f16``), ``graph`` (how far the
    engine optimizes the graph: ``none``, ``basic``, ``extended``, ``all``)."""

    @property
    def batch(self) -> int:
        """Items that its variant takes in a call."""
        return int(self.tuning.get("batch", 1))

    @property
    def device(self) -> str:
        """What its variant runs on, as the framework calls it: ``CPU``, ``GPU``."""
        return str(self.tuning.get("device", "CPU"))

    @property
    def pruned_percent(self) -> int:
        """The sparsity in percent."""
        return round(100 * self.sparsity)

    @property
    def name(self) -> str:
        """``onnxruntime-int8-static``, ``openvino-int8-pruned20``, ``openvino-int8@threads=1,hint=throughput``."""
        pruned = f"pruned{self.pruned_percent}" if self.sparsity else ""
        plain = "-".join(part for part in (self.framework, self.precision, self.method, pruned) if part)
        return plain + "@" * bool(self.tuning) + ",".join(f"{key}={value}" for key, value in self.tuning.items())


class Citation(Record, frozen=True, kw_only=True):
    """A rule that was applied, and what was found that made it apply."""

    rule: str
    """``platform matrix: Intel CPU/GPU -> OpenVINO, then Olive``."""
    fact: str
    """``the target is intel, and this device is of it (GenuineIntel)``."""
    source: str
    """Where the rule comes from; ``pytest-edgeai``: our own."""


class Preference(Record, frozen=True, kw_only=True):
    """A framework's place in the order of preference for one model and target, and what gave it that place."""

    framework: str
    citations: tuple[Citation, ...]
    """The one that weighs most first."""
    score: int | None = None
    """How well it meets the requirements that the user named; ``None`` where none was."""
    unfit: str = ""
    """Why it can't take a model of this kind, in one sentence; empty where it can."""


class Offer(Record, frozen=True, kw_only=True):
    """A recipe that will be built, and why."""

    recipe: Recipe
    reason: str
    citations: tuple[Citation, ...] = ()
    """What gave its framework its place."""


class Refusal(Record, frozen=True, kw_only=True):
    """A recipe that will not be built, and why."""

    recipe: str
    reason: str


class Plan(Record, frozen=True, kw_only=True):
    """What will be built and measured for a model, a target and a device; in order of preference."""

    model: str
    target: str
    baseline: Recipe
    """The unoptimized model: the reference of quality, and what speed and memory are compared with where :attr:`baselines` has no other."""
    baselines: dict[str, Recipe] = {}
    """Framework -> the unoptimized model in that engine, for models whose engines have nothing in common but the source."""
    offers: tuple[Offer, ...]
    refusals: tuple[Refusal, ...]
    preferences: tuple[Preference, ...] = ()
    """Frameworks, those without a recipe here included."""

    def baseline_of(self, recipe: Recipe) -> Recipe:
        """What this recipe's speed and memory are compared with."""
        return self.baselines.get(recipe.framework, self.baseline)

    @property
    def unoptimized(self) -> tuple[Recipe, ...]:
        """The reference of quality, then the other baselines, each once."""
        found = {recipe.name: recipe for recipe in (self.baseline, *self.baselines.values())}
        return tuple(found.values())


class Variant(Record, frozen=True, kw_only=True):
    """The artifact that a recipe made of a model."""

    recipe: Recipe
    model_digest: str
    key: str
    """Digest of everything that went into the artifact: model, recipe, framework versions, calibration items, schema. Variants that are only loaded
    otherwise (``onnxruntime-fp32`` and ``onnxruntime-fp32@threads=1``) share it; their names tell them apart."""
    folder: str
    """Where the artifact lies; read-only by convention."""
    files: dict[str, str]
    """Path inside ``folder`` -> digest."""
    bytes: int
    """Of the artifact's files: what would be shipped."""
    versions: dict[str, str]
    """Distribution -> version that built it."""
    build_seconds: float

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name


# What was observed -----------------------------------------------------------------------------------------------------------


class Measurement(Record, frozen=True, kw_only=True):
    """Raw samples of one series, never only a summary."""

    subject: str
    """Variant name, or ``variant/baseline`` for a series measured in turns."""
    metric: str
    unit: str
    plan: str
    """How it was sampled: ``turns``, ``solo``, ``blocks`` or ``process``."""
    phase: str
    """``screening`` or ``gate``."""
    samples: dict[str, list[float]]
    """Column name -> one number a sample; columns have equal lengths."""
    seconds: float
    """Spent on sampling, without starting workers or waiting for the host's lock."""
    processes: int
    noise: dict[str, float] = {}
    """What the machine did meanwhile; facts that can't be read there are absent.

    The system's: ``wall_s`` (how long "meanwhile" was), ``cores``, ``load_1m`` (runnable tasks), ``steal_s`` (taken by the hypervisor, of all
    cores together), ``cpu_pressure_s`` (some task waited for a core), ``throttled_periods`` and ``throttled_s`` (by the container's limit),
    ``thermal_throttles``, ``mhz_least``, ``mhz_median`` and ``mhz_most`` (the cores' frequencies at the end, and the highest they have).
    Ours: ``waited_s`` (for free cores), ``involuntary_switches`` (of the worker, since its first calls), ``warm_up_trend`` (how far
    the last calls of the warm-up still drifted), ``trending_pairs`` (that still drifted then), ``pinned_processes`` (whose busy threads were given a core
    each), and of the constant work between the calls ``canary_median_s``, ``canary_rmad``, ``canary_tail`` (p99 over p50) and ``canary_best_s`` (the least
    median that this machine has shown while it was steady).
    """


class Figure(Record, frozen=True, kw_only=True):
    """A summary of samples with its uncertainty, for reports and ``.estimate``."""

    estimate: float
    low: float
    high: float
    unit: str
    confidence: float
    """Of the interval, both sides together; 1 for what is known exactly."""
    n: int
    method: str


class Outcome(enum.StrEnum):
    """What a gate came to. Only what is proven is PASS."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"
    UNSUPPORTED = "UNSUPPORTED"


class Verdict(Record, frozen=True, kw_only=True):
    """The frozen result of one comparison, with its evidence.

    PASS is true and FAIL is false; asking an INCONCLUSIVE, ERROR or UNSUPPORTED verdict for its truth value raises
    :class:`~pytest_edgeai.errors.Undecided`, which the plugin turns into the matching pytest outcome.
    """

    outcome: Outcome
    claim: str
    """``openvino-int8 speedup >= 2``."""
    subject: str
    quantity: str
    operator: str
    limit: float
    unit: str
    device: str
    target: str
    model: str = ""
    other: str = ""
    """The variant whose same quantity the claim is a share of; empty for a claim about a number."""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    """One-sided, of each of ``low`` and ``high``; 1 for what is known exactly, ``None`` for the range that was seen."""
    method: str = ""
    spent: str = ""
    """``3 process pairs, 118 rounds, 0.9 s``."""
    seconds: float = 0.0
    """Of sampling."""
    notes: tuple[str, ...] = ()
    """Sentences: the reason, facts that explain it, what to do next."""

    def __bool__(self) -> bool:
        if self.outcome in (Outcome.PASS, Outcome.FAIL):
            return self.outcome is Outcome.PASS
        raise Undecided(self)

    def lines(self) -> list[str]:
        """The verdict for people: at most seven lines."""
        text = [f"{self.claim}: {self.outcome} on {self.device}"]
        if self.estimate is not None:
            measured = f"  measured {show(self.estimate, self.unit)}"
            details = []
            if self.low is not None and self.high is not None and self.confidence != 1:
                name = "range" if self.confidence is None else f"{100 * self.confidence:g} % bound"
                details.append(f"{name} {show(self.low, self.unit)} .. {show(self.high, self.unit)}")
            details += [self.spent] if self.spent else []
            text.append(measured + (f" ({'; '.join(details)})" if details else ""))
        return text + [f"  {note}" for note in self.notes][: 7 - len(text)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Candidate(Record, frozen=True, kw_only=True):
    """One of the variants that could have been the choice."""

    recipe: str
    score: float
    """The weighted sum of its gains; of variants that break limits, by how much they miss them together (ln of the ratios), negative."""
    gains: dict[str, float] = {}
    """Objective -> how good it is: 0 is as the baseline, 1 is better by as much as the target demands."""
    breaks: tuple[str, ...] = ()
    """The target's limits that its screening estimates break."""


class Choice(Record, frozen=True, kw_only=True):
    """The recommended variant, and how it was found."""

    recipe: str
    meets_limits: bool
    reason: str
    breaks: tuple[str, ...] = ()
    """The target's limits that its screening estimates break."""
    weights: dict[str, float] = {}
    """Objective -> share of its gain in the score; they add up to 1."""
    is_knee: bool = True
    """Whether nobody said what to prefer, so that it is the knee point of the front."""
    ranking: tuple[Candidate, ...] = ()
    """It, then the others from the best to the worst: those that meet the limits, or where none does, all of them."""
    second: str = ""
    """The next best; empty where there is none."""
    changes: tuple[str, ...] = ()
    """Sentences: what it would take for the second best to be the choice."""


class Beaten(Record, frozen=True, kw_only=True):
    """A variant that another one beats, or seems to."""

    recipe: str
    by: str
    evidence: tuple[str, ...]
    """A sentence for each objective; of one that only seems to be beaten, what isn't shown."""


class Front(Record, frozen=True, kw_only=True):
    """The Pareto front of the variants, with its uncertainty."""

    objectives: tuple[str, ...]
    confidence: float
    """Of each comparison of two variants in one objective."""
    members: tuple[str, ...]
    """Those that nothing is shown to beat; in the plan's order."""
    beaten: tuple[Beaten, ...] = ()
    """Shown to be no better than another one in anything, and worse in something."""
    undecided: tuple[Beaten, ...] = ()
    """Members whose estimates another one's beat, without that being shown."""
    alike: tuple[tuple[str, str], ...] = ()
    """Members that are equal in practice in every objective."""


class Trial(Record, frozen=True, kw_only=True):
    """One recipe that a search tried."""

    number: int
    """Of Optuna's trial."""
    recipe: Recipe
    state: Literal["measured", "cut", "refused", "failed"]
    """``cut``: it surely breaks a limit, or is surely beaten, so that no more was measured."""
    figures: dict[str, Figure] = {}
    gains: dict[str, float] = {}
    """Objective -> how good it is, as in :class:`Candidate`."""
    missed: float = 0.0
    """By how much its estimates miss the limits together: the sum of ln of the ratios."""
    breaks: tuple[str, ...] = ()
    """The limits that its estimates break."""
    evidence: str = ""
    """Why it was cut, refused, or what failed, in a sentence."""
    seconds: dict[str, float] = {}
    """What was done -> how long: ``build``, ``score``, ``measure``."""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name


StageName = Literal[
    "baseline", "conversion", "pruning", "quantization", "hardware acceleration", "production validation"
]
"""Of progressive optimization, in their order."""


class Stage(Record, frozen=True, kw_only=True):
    """One step on the way from the unoptimized model to the variant that is shipped."""

    name: StageName
    recipe: str
    """The variant that this stage made, or that went through it unchanged."""
    text: str
    """What was done, or why there was nothing to do, in a sentence."""
    changed: bool = True
    """Whether it made another variant than the stage before."""
    before: str = ""
    """The variant of the stage before; empty for the first one."""
    speedup: Figure | None = None
    """Over the stage before, measured in turns; ``None`` where nothing changed, or speed can't be measured here."""
    figures: dict[str, Figure] = {}
    verdicts: tuple[Verdict, ...] = ()
    """Of the last stage: on each limit of the target."""


class Search(Record, frozen=True, kw_only=True):
    """What a search for the best variant came to."""

    study: str
    """Name of Optuna's study."""
    storage: str
    """Where it is kept; a search that is asked for again goes on there."""
    points: int
    """Recipes that could have been tried."""
    stopped: str
    """Why it ended: ``40 trials``, ``the budget of 120 s``, ``every point was tried``."""
    trials: tuple[Trial, ...]
    resumed: int
    """How many of them an earlier search had tried."""
    finalists: tuple[str, ...]
    """Recipes that were measured more closely, to choose between them."""
    closely: dict[str, dict[str, Figure]] = {}
    """Finalist -> its figures."""
    choice: Choice
    front: Front
    seconds: dict[str, float]
    """What this search did -> how long, in all: ``build``, ``score``, ``measure``, ``screen``, ``total``."""


# What a run came to ----------------------------------------------------------------------------------------------------------


class VariantResult(Record, frozen=True, kw_only=True):
    """One variant in the results: what it is, and what was measured."""

    name: str
    framework: str
    precision: str
    role: Literal["baseline", "variant"]
    state: Literal["built", "cached", "failed"]
    reason: str = ""
    """Why the plan has it; for ``failed``, the error."""
    bytes: int | None = None
    build_seconds: float | None = None
    key: str = ""
    recipe: Recipe | None = None
    """How it was made, and how it is run."""
    versions: dict[str, str] = {}
    """Distribution -> version that built it."""
    placement: dict[str, str] = {}
    """What the runtime says it really used: provider, device, precision, threads."""
    figures: dict[str, Figure] = {}
    """``latency.p50``, ``speedup``, ``memory.footprint``, ``memory.peak``, ``cold_start``, ``size``, ``accuracy``, ..."""


class GateResult(Record, frozen=True, kw_only=True):
    """A verdict and the test that asked for it."""

    test: str
    verdict: Verdict
    tolerated: bool = False
    """A FAIL in a test that passed all the same: it wanted the opposite (``assert not ...``), or doesn't insist."""


class ModelResult(Record, frozen=True, kw_only=True):
    """All that was found for one model."""

    model: Model
    score: str
    """How items are scored; empty without data."""
    items: dict[str, int]
    """``calibration``, ``selection``, ``confirmation`` -> how many items."""
    assessment: Assessment | None
    conversion: Conversion | None = None
    """Of a model that comes from PyTorch: ``model`` and ``assessment`` are of the ONNX file that it became."""
    preferences: tuple[Preference, ...] = ()
    """Frameworks in order of preference, each with the rules and the facts that gave it its place."""
    refusals: tuple[Refusal, ...]
    reference: str = ""
    """The baseline that quality is compared with, where each engine has a baseline of its own; empty where there is one."""
    variants: tuple[VariantResult, ...]
    limits: Limits | None = None
    """What was demanded of its variants; ``None``: the target's."""
    choice: Choice | None
    front: Front | None = None
    """Of the variants that were screened; ``None``: none was."""
    search: Search | None = None
    """For the best variant; ``None``: nobody asked for one."""
    progression: tuple[Stage, ...] = ()
    """The choice, stage by stage; empty: nobody asked for it."""
    measurements: tuple[Measurement, ...]


class Results(Record, frozen=True, kw_only=True):
    """``results.json``: everything a run found out."""

    schema: int
    tool: str
    """Version of pytest-edgeai."""
    run: str
    release: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    command: str
    target: Target
    device: Device
    standing: Literal["native", "stand-in", "foreign"]
    """What the device is to the target."""
    versions: dict[str, str]
    settings: dict[str, Any]
    models: tuple[ModelResult, ...]
    gates: tuple[GateResult, ...]


# Digests ---------------------------------------------------------------------------------------------------------------------


def digest_of(value: Any) -> str:
    """Digest of plain data or of a record: SHA-256 of its JSON with sorted keys."""
    try:
        data = msgspec.json.encode(value, order="sorted")
    except UnicodeEncodeError:  # a file's name that is not in the locale's encoding
        data = json.dumps(msgspec.to_builtins(value), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def digest_of_file(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
