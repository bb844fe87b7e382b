"""Guidance: which framework suits which platform, model and requirement: rules as data, each with its source, and the order that follows.

The rules come from the workflow synthesis of a public course (:data:`COURSE`). What was found wrong there is corrected, and listed in
:data:`CORRECTIONS`; what is our own judgement says so (:data:`OURS`). An order is a preference and a tie-break: it never leaves a
framework out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pytest_edgeai.errors import UsageError, unknown
from pytest_edgeai.records import Citation, Preference, Record, Target

COURSE: Final = "github.com/microsoft/edgeai-for-beginners, Module04/06"
OURS: Final = "pytest-edgeai"

TITLES: Final = {
    "llamacpp": "llama.cpp",
    "mlx": "MLX",
    "olive": "Olive",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
"""Framework -> its name for people. A framework that is not here is known by its own name."""

READS: Final[Mapping[str, tuple[str, ...]]] = {
    "llamacpp": ("gguf", "huggingface"),
    "mlx": ("huggingface",),
    "olive": ("onnx", "huggingface"),
    "olive-cuda": ("huggingface",),
    "onnxruntime": ("onnx",),
    "openvino": ("onnx", "gguf", "huggingface"),
}
"""Framework -> the kinds of model that it can be given, by itself or by a converter that comes with it."""

FORMS: Final[Mapping[str, str]] = {"olive-cuda": "olive"}
"""Framework -> the one that it is another form of, for other hardware: the rules, grades and places of that one are its own, and it comes just before it."""

PLATFORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "Intel CPU/GPU": ("openvino", "olive"),
    "NVIDIA GPU": ("olive", "openvino"),
    "Apple silicon": ("mlx", "llamacpp"),
    "ARM mobile": ("llamacpp", "openvino"),
    "Edge TPU": ("openvino", "olive"),
    "Embedded ARM": ("llamacpp", "openvino"),
}
"""The platform matrix: row -> primary framework, then the secondary one."""

ROWS: Final = {
    "intel": "Intel CPU/GPU",
    "nvidia": "NVIDIA GPU",
    "apple": "Apple silicon",
    "arm-mobile": "ARM mobile",
    "edge-tpu": "Edge TPU",
    "embedded-arm": "Embedded ARM",
    "ios": "Apple silicon",
    "android": "ARM mobile",
}
"""Target -> its row. The rows of ``ios`` and ``android`` are ours: the course has none for an app."""

PLATFORM_DECIDES: Final = ("intel", "apple", "ios")
"""Targets whose row comes before the question of the model's size; elsewhere a large model takes the enterprise route first."""

ENTERPRISE: Final = ("olive", "openvino")
"""The enterprise route: where the decision tree sends enterprise targets, and what the course's order for production has next."""

LARGE: Final = 7_000_000_000
"""Parameters above which the enterprise route is taken."""

MODEL_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "language": ("llamacpp",),
    "multi-modal": ("openvino", "olive"),
    "other": ("onnxruntime", "openvino", "olive"),
}
"""The decision tree's second question, asked where any platform is deployed to. The row of ``other`` is ours."""

ROUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "target": (),
    "rapid": ("llamacpp", "mlx", "onnxruntime", "olive", "openvino"),
    "production": ("olive", "openvino", "onnxruntime", "mlx", "llamacpp"),
}
"""Orders for rapid prototyping and for enterprise production; ``target`` leaves the rules' own. ONNX Runtime's places are ours: it takes an ONNX model as it is, and one
engine of many makers' hardware is behind what Olive makes."""


class Grade(Record, frozen=True, kw_only=True):
    """How well a framework meets a requirement."""

    score: int
    """2: as one would wish, 1: with limits, 0: not."""
    word: str


def _grades(**told: tuple[int, str]) -> dict[str, Grade]:
    return {name: Grade(score=score, word=word) for name, (score, word) in told.items()}


REQUIREMENTS: Final[Mapping[str, Mapping[str, Grade]]] = {
    "cross-platform": _grades(
        llamacpp=(2, "excellent"),
        olive=(1, "good"),
        openvino=(1, "good"),
        mlx=(1, "Apple first"),
        onnxruntime=(2, "excellent"),
    ),
    "enterprise": _grades(
        llamacpp=(1, "basic"),
        olive=(2, "excellent"),
        openvino=(2, "excellent"),
        mlx=(1, "limited"),
        onnxruntime=(2, "excellent"),
    ),
    "mobile": _grades(
        llamacpp=(2, "excellent"),
        olive=(1, "good"),
        openvino=(1, "good"),
        mlx=(1, "excellent on iOS alone"),
        onnxruntime=(2, "excellent"),
    ),
    "real-time": _grades(
        llamacpp=(2, "excellent"),
        olive=(2, "excellent"),
        openvino=(2, "excellent"),
        mlx=(2, "excellent"),
        onnxruntime=(2, "excellent"),
    ),
    "model-diversity": _grades(
        llamacpp=(1, "language models"),
        olive=(2, "all models"),
        openvino=(2, "all models"),
        mlx=(1, "language models"),
        onnxruntime=(2, "all models"),
    ),
    "ease-of-use": _grades(
        llamacpp=(2, "simple"),
        olive=(2, "automated"),
        openvino=(1, "moderate"),
        mlx=(2, "simple"),
        onnxruntime=(2, "simple"),
    ),
}
"""The requirement matrix. ONNX Runtime's column is ours: its makers publish packages for Linux, macOS, Windows, Android, iOS and
browsers, it runs any ONNX model as it is, and its quantizer needs a function call."""

CORRECTIONS: Final = (
    (
        "llama.cpp and MLX read no ONNX: the course's script hands llama.cpp a folder of ONNX files, which nothing converts to GGUF. Their "
        "places in an order stand for models of another kind; an ONNX model goes to the next that takes one."
    ),
    (
        "Neither OpenVINO nor Olive executes on an Edge TPU, which runs only TensorFlow Lite models that were compiled for it. The row is "
        "kept as the course has it, and a variant that it leads to runs on the CPU."
    ),
    "7 B is a number of parameters; the course's code compares it with `model_size`, which would be bytes in any file.",
    (
        "The course grades model diversity of llama.cpp and MLX as met, with the remark that they are for language models; that is one kind, so "
        "they get 1 here."
    ),
    (
        'The course has MLX as "Apple only" in cross-platform: its packages install and run on Linux too (its speed there says nothing about '
        "Apple silicon), so it gets 1 here. In mobile it is graded as met for iOS; Android has no MLX, so it gets 1 here."
    ),
    (
        "The decision tree asks for the model type where any platform is deployed to, and knows only language and multi-modal models; for all others "
        "ONNX Runtime comes first here."
    ),
)
"""What the course has wrong or leaves open, and what is done about it here."""


class Facts(Record, frozen=True, kw_only=True):
    """What the rules ask of a model."""

    kind: str
    """``onnx``, later ``gguf``, ``huggingface``."""
    modalities: tuple[str, ...]
    """Of its inputs, each once: ``image``, ``text``, ``audio``, ``tabular``, ..."""
    parameters: int

    @property
    def type(self) -> str:
        """The decision tree's: ``language``, ``multi-modal`` or ``other``."""
        if len(self.modalities) > 1:
            return "multi-modal"
        return "language" if self.modalities == ("text",) else "other"


def requirements(text: str | None) -> tuple[str, ...]:
    """The names in a comma-separated list, each once. Raises UsageError with a guess for one that is not known."""
    names = tuple(dict.fromkeys(name.strip() for name in re.split(r"[\s,]+", text or "") if name.strip()))
    for name in names:
        if name not in REQUIREMENTS:
            raise UsageError(unknown("requirement", name, REQUIREMENTS))
    return names


def title(framework: str) -> str:
    """The framework's name for people."""
    return TITLES.get(framework, framework)


def order(
    facts: Facts,
    target: Target,
    here: str,
    frameworks: Iterable[str],
    route: str = "target",
    required: Sequence[str] = (),
) -> tuple[Preference, ...]:
    """All that the rules name, and every one of ``frameworks``, in order of preference; those that can't take the model come last.

    ``here``: what the device is to the target, as a clause that follows "the target is intel, and". The rules give the order: the first
    one that names a framework gives its place. Where the user named requirements, the higher score comes first; then the route's
    order, then the rules'. What no rule names follows what they name, by name.
    """
    registered = set(frameworks)
    named: dict[str, Citation] = {}
    for places, citation in _rules(facts, target, here):
        for framework in _with_forms(places, registered):
            named.setdefault(framework, citation)
    rules = list(named)
    found = [*rules, *sorted(registered - set(rules))]
    routed = _with_forms(ROUTES[route], registered)
    preferences = []
    for framework in found:
        score = sum(_grade(name, framework).score for name in required) if required else None
        citations = [
            *([_scored(framework, required, score)] if score is not None else []),
            *([_routed(route, framework)] if framework in routed else []),
            named.get(framework) or Citation(rule="no rule names it", fact="it is registered here", source=OURS),
        ]
        preferences.append(
            Preference(
                framework=framework, citations=tuple(citations), score=score, unfit=_unfit(framework, facts.kind)
            )
        )

    def place(preference: Preference) -> tuple[bool, bool, int, int, int]:
        name = preference.framework
        in_route = routed.index(name) if name in routed else len(routed)
        return (bool(preference.unfit), name not in named, -(preference.score or 0), in_route, found.index(name))

    return tuple(sorted(preferences, key=place))


def _with_forms(places: Iterable[str], registered: Iterable[str]) -> list[str]:
    return [one for place in places for one in (*(name for name in registered if FORMS.get(name) == place), place)]


def between(first: Preference, second: Preference) -> Citation:
    """The rule that put ``first`` before ``second``."""
    citations = first.citations
    if first.score is not None:
        if first.score != second.score:
            return citations[0]
        citations = citations[1:]
    return citations[0]


_Rule = tuple[tuple[str, ...], Citation]
"""The frameworks that a rule names, in order, and its citation."""


def _rules(facts: Facts, target: Target, here: str) -> list[_Rule]:
    """Those that apply, in the order in which they are asked."""
    at = f"the target is {target.name}, and {here}"
    row = ROWS.get(target.name)
    own_order = target.language_frameworks if facts.kind != "onnx" and target.language_frameworks else target.frameworks
    built_in = row is not None or target.name in ("cross", "enterprise")
    own = _rule("target", f"{target.name}'s own order", own_order, at, OURS if built_in else target.name)
    if row is not None:
        platform = [_rule("platform matrix", row, PLATFORMS[row], at)]
    elif target.name == "enterprise":
        platform = [_rule("decision tree", "enterprise", ENTERPRISE, at)]
    elif target.name == "cross":
        source = OURS if facts.type == "other" else COURSE
        case = f"any platform, {facts.type} model"
        platform = [_rule("decision tree", case, MODEL_TYPES[facts.type], _inputs(facts.modalities), source)]
    else:
        platform = [own]
    large = []
    if facts.parameters > LARGE:
        told = f"the model has {facts.parameters / 1e9:.1f} B parameters"
        large = [_rule("decision tree", "above 7 B parameters, the enterprise route", ENTERPRISE, told)]
    first = target.name in PLATFORM_DECIDES or not built_in
    return [*platform, *large, own] if first else [*large, *platform, own]


def _rule(name: str, case: str, places: tuple[str, ...], fact: str, source: str = COURSE) -> _Rule:
    told = ", then ".join(map(title, places)) or "none"
    return places, Citation(rule=f"{name}: {case} -> {told}", fact=fact, source=source)


def _inputs(modalities: Sequence[str]) -> str:
    if not modalities:
        return "the modality of the model's inputs is not known"
    number = {1: "one modality", 2: "two modalities", 3: "three modalities"}.get(
        len(modalities), f"{len(modalities)} modalities"
    )
    return f"the model takes {number} ({', '.join(modalities)})"


def _grade(requirement: str, framework: str) -> Grade:
    return REQUIREMENTS[requirement].get(FORMS.get(framework, framework), Grade(score=0, word="not graded"))


def _scored(framework: str, required: Sequence[str], score: int) -> Citation:
    told = ", ".join(f"{name} {_grade(name, framework).word}" for name in required)
    return Citation(
        rule=f"requirement matrix: {', '.join(required)}",
        fact=f"{title(framework)} scores {score} of {2 * len(required)} ({told})",
        source=_source(framework),
    )


def _routed(route: str, framework: str) -> Citation:
    told = ", ".join(map(title, ROUTES[route]))
    fact = f"the {route} route was asked for"
    return Citation(rule=f"{route} route: {told}", fact=fact, source=_source(framework))


def _source(framework: str) -> str:
    """Of a framework's column in the requirement matrix and of its place in a route."""
    return COURSE if FORMS.get(framework, framework) in TITLES and framework != "onnxruntime" else OURS


def _unfit(framework: str, kind: str) -> str:
    kinds = READS.get(framework, (kind,))
    if kind in kinds:
        return ""
    names: dict[str, str] = {"onnx": "ONNX", "gguf": "GGUF", "huggingface": "Hugging Face folders"}
    told = " and ".join(names.get(one, one) for one in kinds)
    return f"{title(framework)} reads no {names.get(kind, kind)} (it takes {told})."
