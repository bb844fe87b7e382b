"""Every recipe of every framework, built on models of different kinds: ``python benchmarks/recipes.py [FOLDER]``.

Writes ``docs/reference/recipes.md``. The models are the digits sample and those of ``fixtures/zoo``, which are made in FOLDER (else in
a temporary one). Each variant is built, loaded and called in worker processes, as in a test run; what a recipe refuses is told with its sentence.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pytest_edgeai import assess, build, dataset, registry, strategy
from pytest_edgeai import device as devices
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.measure.process import run_task
from pytest_edgeai.records import Device, EngineDevice
from pytest_edgeai.units import show

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "recipes.md"
ZOO = ("encoder", "mobile", "two_towers", "lstm", "trees")
DOES = {
    "olive-fp16": "as `onnxruntime-fp16`, by Olive's pass",
    "olive-fp16-mixed": "half precision, with normalizations, softmax, sums and powers in fp32; inputs and outputs stay fp32",
    "olive-fp32-tuned": "the model as it is, with the session options that Olive found to be the fastest on this device",
    "olive-int8-dynamic": "by Olive's pass, with the same quantizer as `onnxruntime-int8-dynamic`, and the same result",
    "olive-int8-static": "by Olive's pass, with the quantizer of `onnxruntime-int8-static` as it is: everything in int8, no biases corrected",
    "onnxruntime-fp32": "the model as it is: the baseline",
    "onnxruntime-fp16": "weights and arithmetic in half precision; inputs and outputs stay fp32",
    "onnxruntime-fp32-single": "the model as it is, in one thread, for ensembles of trees",
    "onnxruntime-int8-dynamic": "matrix products and LSTMs in int8; the activations' scale is found in every call",
    "onnxruntime-int8-static": "the whole network in int8 (QDQ, unsigned activations, signed weights by channel), its layers alone in networks with attention; biases make good what weights lose on average",
    "openvino-bf16": "arithmetic in bfloat16; the file is that of fp32",
    "openvino-fp16": "weights stored in half precision; computed in f16 where the device has it, else in f32",
    "openvino-fp32": "OpenVINO's kernels in full precision",
    "openvino-int4-weights": "weights of matrix products in 4 bits, with a scale for 32 of them (first and last layers: 8 bits)",
    "openvino-int8": "the whole network in int8 by NNCF, from the extremes of the items; smoothed where matrix products prevail",
    "openvino-int8-accuracy": "the same, always smoothed, with operators taken back to f32 until 99 % of what varies in the outputs is kept",
    "openvino-int8-performance": "for transformers and dense networks: everything symmetric, nothing smoothed; it may take half the memory of `openvino-int8`",
    "openvino-int8-weights": "weights of matrix products in 8 bits, without calibration",
}
"""Recipe -> what it does. A recipe that isn't here stops the script."""
TUNED = (
    "openvino-fp32@threads=1 openvino-int8@threads=1 openvino-int8@hint=throughput openvino-int8@batch=4,threads=2 openvino-fp32@precision=bf16 "
    "openvino-fp32@precision=f16 openvino-fp32@device=GPU openvino-fp32@device=AUTO openvino-int8@threads=64 onnxruntime-fp32@threads=1 "
    "onnxruntime-int8-static@batch=4 onnxruntime-int8-static@hint=throughput onnxruntime-fp32@device=GPU "
    "onnxruntime-fp32@device=NPU onnxruntime-fp32@graph=basic onnxruntime-int8-static@graph=none openvino-fp32@device=NPU openvino-fp32@graph=basic "
    "olive-int8-static@threads=1 olive-int8-static@device=NPU olive-fp32-tuned@threads=1"
)
NOT_RUN = (
    (
        "device=GPU, device=NPU, device=AUTO",
        "no such device here; what is asked for is verified after loading, else it is an error",
    ),
    ("precision=f16", "no CPU with float16 arithmetic here"),
    (
        "olive-fp16, olive-fp16-mixed, onnxruntime-fp16",
        "no ARM CPU and no GPU here; the conversions are tested, their speed is not known",
    ),
)


@dataclass
class Found:
    """What became of one recipe and one model."""

    refused: str = ""
    failed: str = ""
    bytes: int = 0
    seconds: float = 0.0
    placement: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def zoo(folder: str | None) -> Iterator[Path]:
    """The folder with the models."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder or scratch)
        if not all((place / f"{name}.onnx").exists() for name in ZOO):
            script = ROOT / "fixtures" / "zoo" / "make_zoo.py"
            subprocess.run([sys.executable, script, place], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        yield place


def here() -> Device:
    """This machine, with what the engines of tensor models list."""
    found = registry.find()
    target = found.target("cross")
    engines = {}
    for name, framework in found.frameworks.items():
        if framework.catalogue(target, "onnx"):
            asked = {"modules": list(found.modules), "framework": name}
            listed = run_task("devices", asked, subject=f"devices of {name}", timeout=300)
            engines[name] = tuple(msgspec.convert(entry, EngineDevice) for entry in listed)
    return msgspec.structs.replace(devices.detect(), engines=engines)


def built(model: Path, items: Path, device: Device, scratch: Path, wanted: str | None) -> dict[str, Found]:
    """Every recipe of the catalogue on one model."""
    found = registry.find()
    source = assess.digest_model(model)
    assessment = assess.assess(source, run_task)
    data = dataset.read(items, assessment)
    files = dataset.ItemFiles(scratch, data, assessment)
    calibration = data.indexes(dataset.CALIBRATION)
    target = found.target("cross")
    recipes = strategy.catalogue(found.frameworks.values(), target, "onnx", wanted)
    baseline = strategy.baseline_of(found.frameworks.values(), target, "onnx")
    cache = build.Cache(scratch / "cache", print, scratch / "cache")
    told: dict[str, Found] = {}
    for recipe in recipes if wanted else [baseline, *recipes]:
        framework = found.framework(recipe.framework)
        refusal = framework.refusal(recipe, assessment, device)
        one = told[recipe.name] = Found(refused=refusal or "")
        if refusal is not None:
            continue
        ingredients = build.Ingredients(
            recipe=recipe,
            model=msgspec.structs.replace(source, digest=assessment.digest),
            versions=registry.versions(framework) or {},
            modules=found.modules,
            sample=files.timed(),
            calibration=files.part(dataset.CALIBRATION),
            calibration_digest=data.digest(calibration),
            at_load=frozenset(getattr(framework, "at_load", ())),
        )
        try:
            variant, _ = build.build(ingredients, cache, run_task, contextlib.nullcontext, _working)
            with Bench(variant, Setup(found.modules, device.cores, files.timed())) as bench:
                one.placement = bench.placement
        except EdgeError as error:
            one.failed = str(error)
            continue
        one.bytes, one.seconds = variant.bytes, variant.build_seconds
    return told


def _working(what: str) -> contextlib.AbstractContextManager[object]:
    """Nobody watches."""
    return contextlib.nullcontext(what)


def page(tables: dict[str, dict[str, Found]], tuned: dict[str, dict[str, Found]], device: Device) -> str:
    """The page."""
    found = registry.find()
    target = found.target("cross")
    recipes = [
        recipe
        for framework in found.frameworks.values()
        for recipe in sorted(
            [*filter(None, [framework.baseline("onnx")]), *framework.catalogue(target, "onnx")], key=lambda r: r.name
        )
    ]
    versions = {
        name: version
        for f in found.frameworks.values()
        for name, version in (registry.versions(f) or {}).items()
        if f.catalogue(target, "onnx")
    }
    text = [
        "# Recipes",
        "",
        "Made by `python benchmarks/recipes.py`, which builds every recipe on models of different kinds; do not edit.",
        "",
        f"Built on {device.cpu} ({device.system} {device.architecture}, {device.cores} cores; {', '.join(device.features)}) with "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        + ".",
        "",
        "## What they do",
        "",
        "| recipe | what it does | calibration items | fast only with one of | options |",
        "|---|---|---|---|---|",
    ]
    text += [
        f"| `{r.name}` | {DOES[r.name]} | {'yes' if r.calibrated else 'no'} | {', '.join(r.needs)} | "
        f"{', '.join(f'{k}: {v}' for k, v in r.options.items())} |"
        for r in recipes
    ]
    text += [
        "",
        "## What was built",
        "",
        "Size as a share of the baseline's, and what the work is computed in (as the engine says itself). A number in brackets is a refusal, told below.",
        "",
        f"| recipe | {' | '.join(tables)} |",
        "|---|" + "---|" * len(tables),
    ]
    sentences: list[str] = []
    for r in recipes:
        text.append(f"| `{r.name}` | {' | '.join(_cell(tables[model], r.name, sentences) for model in tables)} |")
    text += ["", *(f"{place}. {sentence}" for place, sentence in enumerate(sentences, 1)), "", "## Tuned", ""]
    text += [
        "Built and run on the digits sample; what was asked for is verified when it is loaded.",
        "",
        "| recipe | what the engine says |",
        "|---|---|",
    ]
    sentences = []
    for name, one in tuned.items():
        said = (
            (one.refused and f"refused: {one.refused}")
            or one.failed
            or ", ".join(f"{k} {v}" for k, v in one.placement.items() if k != "operators")
        )
        text.append(f"| `{name}` | {said} |")
    text += [
        "",
        "## Not run here",
        "",
        "| what | why |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in NOT_RUN),
        "",
    ]
    return "\n".join(text)


def _cell(column: dict[str, Found], name: str, sentences: list[str]) -> str:
    one = column[name]
    if one.refused or one.failed:
        sentence = one.refused or one.failed
        if sentence not in sentences:
            sentences.append(sentence)
        return f"[{sentences.index(sentence) + 1}]"
    return f"{show(one.bytes / column['onnxruntime-fp32'].bytes, 'proportion')}, {one.placement['precision']}"


def main() -> None:
    device = here()
    tables: dict[str, dict[str, Found]] = {}
    with zoo(sys.argv[1] if len(sys.argv) > 1 else None) as folder, tempfile.TemporaryDirectory() as scratch:
        models = {"digits": ROOT / "fixtures" / "digits" / "digits.onnx"} | {
            name: folder / f"{name}.onnx" for name in ZOO
        }
        for name, model in models.items():
            place = Path(scratch) / name
            place.mkdir()
            tables[name] = built(model, model.with_suffix(".npz"), device, place, None)
            for recipe, one in tables[name].items():
                print(
                    f"{name:10} {recipe:26} {one.refused or one.failed or f'{one.seconds:.1f} s {one.placement}'}",
                    flush=True,
                )
        place = Path(scratch) / "tuned"
        place.mkdir()
        digits = models["digits"]
        tuned = built(digits, digits.with_suffix(".npz"), device, place, TUNED)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(tables, tuned, device))


if __name__ == "__main__":
    main()
