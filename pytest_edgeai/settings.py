"""Settings: every option, once. The flag, the ini key and the help come from the field."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

PATHS: Final = frozenset({"model", "dataset", "report", "cache"})
"""Fields that name files: relative to the working folder on the command line, to the ini file's folder in it."""


def flag(field: str) -> str:
    """The command line's name of a field; a field that would be a keyword of Python ends with an underscore."""
    return f"--edge-{field.rstrip('_').replace('_', '-')}"


def key(field: str) -> str:
    """The ini file's name of a field."""
    return f"edge_{field.rstrip('_')}"


def _option(
    default: Any,
    text: str,
    metavar: str | None = None,
    choices: tuple[str, ...] | None = None,
    number: Literal["seconds", "count"] | None = None,
) -> Any:
    return field(default=default, metadata={"help": text, "metavar": metavar, "choices": choices, "number": number})


@dataclass(frozen=True, slots=True)
class Settings:
    """``--edge-target`` and ``edge_target`` set ``target``, and so on."""

    target: str = _option(
        "auto", "Hardware that is deployed to; 'auto' is the most specific target that this device is of.", "NAME"
    )
    model: str | None = _option(
        None,
        "Model for all edge tests; wins over markers: an .onnx, .gguf or .pt2 file, a function that makes one (FILE.py:FUNCTION), or a folder as "
        "Hugging Face saves it.",
        "PATH",
    )
    dataset: str | None = _option(
        None,
        "Items to calibrate with and to score: an .npz file, one array per model input, and 'labels'; for a language model texts (.txt, .md, .jsonl), or "
        "tasks of lm-evaluation-harness: lm_eval:arc_easy/acc_norm[:500], lm_eval:own_task.yaml.",
        "FILE",
    )
    shape: str | None = _option(
        None,
        "Sizes of dynamic axes where there is no dataset: seq=128,height=224; an axis without a name is INPUT:AXIS, as image:2=224 "
        "(default: batch 1, sequence 16, height and width 64). Of a language model, the tokens of a timed call: prompt=128,output=32.",
        "AXIS=SIZE,...",
    )
    score: str = _option(
        "auto",
        "How an item is scored: top1, top5, cosine, r2, or module:function of (outputs, label); 'auto' is top1 for classes, r2 for one "
        "number, else cosine.",
        "NAME",
    )
    population: str = _option(
        "unseen",
        "What claims on accuracy are about: unseen items, of which the dataset's are a sample, or exactly this dataset.",
        choices=("unseen", "dataset"),
    )
    recipe: str | None = _option(
        None,
        "Only variants whose name matches one of these globs, separated by spaces; with -prunedPERCENT weights are set to zero first, with "
        "@key=value,... the engine is tuned: 'openvino-int8-pruned20 openvino-int8@threads=1 onnxruntime-*@batch=8' (threads, batch, hint, "
        "device, precision).",
        "GLOB[-prunedN][@KEY=VALUE,...]",
    )
    plan: bool = _option(
        False, "Print what would be built and measured and why, and what is refused and why; run nothing."
    )
    rigor: str = _option("quick", "Effort of a comparison.", choices=("quick", "strict"))
    budget: float | None = _option(
        None, "Seconds of sampling for one comparison (quick: 20, strict: 120).", "SECONDS", number="seconds"
    )
    continue_: bool = _option(
        False,
        "Go on from what the last run found about the same variants on this machine, where that is sound (ratios of time): what was proven "
        "stays so, what was open gets further rounds. A rerun without it is a fresh draw.",
    )
    inconclusive: str = _option("fail", "What becomes of a gate that could not be decided.", choices=("fail", "skip"))
    stand_in: bool = _option(
        False, "Let this device stand in for the target's when it runs the same instruction set; verdicts say so."
    )
    limit: str | None = _option(
        None,
        "Limits in place of the target's own: 'package=20MB memory=256MB power=5W accuracy=0.99 speedup=1.5 footprint=0.6'.",
        "LIMITS",
    )
    prefer_route: str = _option(
        "target",
        "Order of preference between frameworks: the target's own, or the one for rapid prototyping or for production.",
        choices=("target", "rapid", "production"),
    )
    require: str | None = _option(
        None,
        "Requirements, separated by commas, that frameworks are preferred by: cross-platform, enterprise, mobile, real-time, "
        "model-diversity, ease-of-use.",
        "NAMES",
    )
    prefer: str | None = _option(
        None,
        "What the choice is to be best in, with weights: 'latency=3,accuracy=2,memory=1' (also size, energy); what isn't named has no say. Without it "
        "the choice is the knee point of the Pareto front.",
        "NAME=WEIGHT,...",
    )
    search_trials: int = _option(40, "Recipes that edge_search tries at most.", "N", number="count")
    search_budget: float = _option(300.0, "Seconds that edge_search takes, all in all.", "SECONDS", number="seconds")
    release: str | None = _option(None, "Name of the release that is judged.", "NAME")
    report: str = _option("reports/latest", "Folder for index.html and results.json.", "DIR")
    cache: str | None = _option(None, "Folder that keeps variants (default: the user's cache folder).", "DIR")
