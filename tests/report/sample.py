"""Samples: results of runs that never happened, for the tests of what is shown."""

import dataclasses
from typing import Any, Literal

import msgspec

from pytest_edgeai.records import (
    Assessment,
    Beaten,
    Candidate,
    Choice,
    Device,
    EngineDevice,
    Figure,
    Front,
    GateResult,
    Hardware,
    Limits,
    Measurement,
    Model,
    ModelResult,
    Outcome,
    Quantizable,
    Recipe,
    Refusal,
    Results,
    Search,
    Stage,
    Target,
    TensorSpec,
    Trial,
    VariantResult,
    Verdict,
)

CHOICE = "openvino-int8"
FILE = "suites/vision/test_gates.py"


@dataclasses.dataclass(frozen=True)
class Row:
    """What makes one variant differ from the others: estimates, each with the half width of its interval."""

    name: str
    size: int
    p50: tuple[float, float]
    speedup: tuple[float, float]
    footprint: float
    accuracy: tuple[float, float]
    reason: str
    cached: bool = False


ROWS = (
    Row("onnxruntime-fp32", 1_317_044, (1.153e-3, 0.012e-3), (1.0, 0.004), 5_640_192, (0.9861, 0.0062),
        "The unoptimized model, which speed and memory are compared with."),
    Row("openvino-int8", 402_118, (0.412e-3, 0.008e-3), (2.79, 0.06), 2_306_048, (0.9833, 0.0066),
        "int8 with calibration; the CPU has avx512_vnni."),
    Row("openvino-fp32", 1_331_560, (0.871e-3, 0.011e-3), (1.32, 0.02), 6_119_424, (0.9861, 0.0062),
        "The same weights in another engine.", cached=True),
    Row("onnxruntime-int8-static", 371_204, (0.498e-3, 0.015e-3), (2.31, 0.07), 2_154_496, (0.9778, 0.0071),
        "int8 with calibration; the CPU has avx512_vnni."),
    Row("onnxruntime-int8-dynamic", 368_410, (1.702e-3, 0.055e-3), (0.68, 0.03), 2_887_680, (0.9806, 0.0069),
        "int8 without calibration: weights only are known beforehand.", cached=True),
)  # fmt: skip


def figures(row: Row) -> dict[str, Figure]:
    """All that is measured of a variant."""
    baseline = row.name == "onnxruntime-fp32"
    found = {
        "size": Figure(estimate=row.size, low=row.size, high=row.size, unit="bytes", confidence=1.0, n=1, method="files"),
        "latency.p50": _around(row.p50, "s", 1200, "order statistics"),
        "latency.p95": _around((row.p50[0] * 1.18, row.p50[1] * 2.4), "s", 1200, "order statistics"),
        "memory.footprint": _around((row.footprint, row.footprint * 0.02), "bytes", 5, "range of 5 processes"),
        "memory.peak": _around((row.footprint + 48e6, row.footprint * 0.05), "bytes", 5, "range of 5 processes"),
        "cold_start": _around((0.118 if row.name.startswith("openvino") else 0.031, 0.004), "s", 5, "median of 5 processes"),
        "accuracy": _around(row.accuracy, "proportion", 720, "Wilson score"),
    }  # fmt: skip
    return found if baseline else found | {"speedup": _around(row.speedup, "x", 118, "median of paired log-ratios")}


def _around(value: tuple[float, float], unit: str, n: int, method: str) -> Figure:
    estimate, half = value
    return Figure(
        estimate=estimate, low=estimate - half, high=estimate + half, unit=unit, confidence=0.99, n=n, method=method
    )


def variant(row: Row) -> VariantResult:
    """A variant that was built and measured."""
    framework, precision, *_ = row.name.split("-")
    return VariantResult(
        name=row.name,
        framework=framework,
        precision=precision,
        role="baseline" if row.name == "onnxruntime-fp32" else "variant",
        state="cached" if row.cached else "built",
        reason=row.reason,
        bytes=row.size,
        build_seconds=0.4 if precision == "fp32" else 6.8,
        key="3f6c1d9a" * 8,
        placement={"device": "CPU", "precision": precision, "threads": "2"},
        figures=figures(row),
    )


def failed() -> VariantResult:
    """A variant whose worker died."""
    return VariantResult(
        name="openvino-bf16",
        framework="openvino",
        precision="bf16",
        role="variant",
        state="failed",
        reason="openvino-bf16: the worker failed in phase 'build': killed by SIGILL.\n  | Fatal Python error: Illegal instruction",
    )


def verdict(outcome: Outcome, subject: str, quantity: str, limit: float, **fields: Any) -> Verdict:
    """A verdict on the sample's device."""
    operator = fields.pop("operator", ">=")
    unit = fields.setdefault("unit", "x")
    shown = f"{1e3 * limit:g} ms" if unit == "s" else f"{limit:g}"
    return Verdict(
        outcome=outcome,
        claim=fields.pop("claim", f"{subject} {quantity} {operator} {shown}"),
        subject=subject,
        quantity=quantity,
        operator=operator,
        limit=limit,
        device="intel-xeon-2c",
        target="intel",
        model="digits",
        **fields,
    )


def gates() -> tuple[GateResult, ...]:
    """One verdict of every outcome, and a few more."""
    accuracy = f"{FILE}::test_keeps_its_accuracy"
    worth = f"{FILE}::test_the_choice_is_worth_shipping"
    paired: dict[str, Any] = {"confidence": 0.99, "method": "sign e-process, then t on the medians of process pairs"}
    ratio: dict[str, Any] = {
        "unit": "ratio",
        "confidence": 0.95,
        "method": "paired non-inferiority, Nam-Blackwelder score",
    }
    return (
        GateResult(test=f"{accuracy}[openvino-int8]", verdict=verdict(
            Outcome.PASS, CHOICE, "accuracy / reference", 0.95, estimate=0.9972, low=0.9911, high=1.0032,
            spent="720 items, 2 flips", seconds=0.31, **ratio)),
        GateResult(test=f"{accuracy}[openvino-fp32]", verdict=verdict(
            Outcome.PASS, "openvino-fp32", "accuracy / reference", 0.95, estimate=1.0, low=0.9985, high=1.0015,
            spent="720 items, 0 flips", seconds=0.4, **ratio)),
        GateResult(test=f"{accuracy}[onnxruntime-int8-static]", verdict=verdict(
            Outcome.PASS, "onnxruntime-int8-static", "accuracy / reference", 0.95, estimate=0.9916, low=0.982,
            high=1.0009, spent="720 items, 8 flips", seconds=0.33, **ratio)),
        GateResult(test=f"{accuracy}[openvino-bf16]", verdict=verdict(
            Outcome.ERROR, "openvino-bf16", "accuracy / reference", 0.95, unit="ratio",
            notes=("openvino-bf16: the worker failed in phase 'build': killed by SIGILL.",
                   "The CPU has no avx512_bf16 and no amx_bf16. See `edgeai doctor`."))),
        GateResult(test=f"{FILE}::test_is_faster[onnxruntime-int8-dynamic]", verdict=verdict(
            Outcome.FAIL, "onnxruntime-int8-dynamic", "speedup", 2.0, estimate=0.678, low=0.652, high=0.701,
            spent="3 process pairs, 118 rounds, 0.9 s", seconds=0.9, **paired,
            notes=("Dynamic quantization computes the scales of every activation at run time.",
                   "Give it calibration data and use int8-static, or drop this recipe with --edge-recipe."))),
        GateResult(test=worth, verdict=verdict(
            Outcome.PASS, CHOICE, "speedup", 2.0, estimate=2.79, low=2.68, high=2.91,
            spent="3 process pairs, 27 rounds, 0.3 s", seconds=0.3, **paired)),
        GateResult(test=worth, verdict=verdict(
            Outcome.PASS, CHOICE, "memory.footprint / baseline", 0.5, operator="<=", unit="ratio", estimate=0.409,
            low=0.401, high=0.417, spent="5 processes each", method="ranges of processes")),
        GateResult(test=worth, verdict=verdict(
            Outcome.PASS, CHOICE, "latency.p95", 8e-3, operator="<=", unit="s", estimate=0.486e-3, low=0.471e-3,
            high=0.515e-3, spent="1200 calls, 0.6 s", confidence=0.99, method="order statistics")),
        GateResult(test=f"{FILE}::test_is_steady[onnxruntime-int8-static]", verdict=verdict(
            Outcome.INCONCLUSIVE, "onnxruntime-int8-static", "latency.jitter", 0.2, operator="<=", unit="ratio",
            estimate=0.187, low=0.142, high=0.238, spent="1200 calls, 20 s", confidence=0.99, method="moving-block bootstrap",
            notes=("The limit lies inside the bounds after the whole budget of 20 s.",
                   "About 4100 calls would decide it: --edge-budget 70."))),
        GateResult(test=f"{FILE}::test_energy[openvino-fp32]", verdict=verdict(
            Outcome.UNSUPPORTED, "openvino-fp32", "energy", 0.002, operator="<=", unit="J",
            notes=("This machine is virtual and has no energy counter.",))),
    )  # fmt: skip


def results(
    standing: Literal["native", "stand-in", "foreign"] = "native", *, meets: bool = True, without: tuple[str, ...] = ()
) -> Results:
    """One model, its baseline, five variants, one of them failed. ``without`` names gates' outcomes to leave out."""
    model = ModelResult(
        model=Model(name="digits", path="fixtures/digits/digits.onnx", kind="onnx", digest="9b74c989" * 8),
        score="top1",
        items={"calibration": 180, "selection": 360, "confirmation": 720},
        assessment=Assessment(
            digest="9b74c989" * 8,
            bytes=1_317_044,
            parameters=328_458,
            macs=11_481_600,
            architecture="convolutional",
            ops={"Conv": 6, "Relu": 6, "MaxPool": 2, "Gemm": 2, "GlobalAveragePool": 1, "Flatten": 1},
            inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28)),),
            outputs=(TensorSpec(name="scores", dtype="float32", shape=("batch", 10)),),
            opset=18,
            producer="pytorch 2.13.0",
            weight_dtypes=("float32",),
            precisions={
                "fp16": Quantizable(possible=True, reason="every operator has a half-precision kernel"),
                "int8-static": Quantizable(possible=True, reason="97 % of the multiply-accumulates are in convolutions"),
            },
        ),
        refusals=(
            Refusal(recipe="onnxruntime-fp16", reason="The CPU has no fp16 arithmetic (detected: avx2, avx512_vnni, fma); it would run as fp32 with casts."),
            Refusal(recipe="openvino-int4", reason="Weights are 1.3 MB: int4 pays off above 100 MB, where memory traffic decides."),
        ),
        variants=(*map(variant, ROWS), failed()),
        choice=Choice(
            recipe=CHOICE,
            meets_limits=meets,
            reason="The fastest of the 2 variants that meet every limit of intel; onnxruntime-int8-static is smaller by 8 % but slower by 21 %.",
            breaks=() if meets else ("Speed-up 1.62x is below the limit of 2x.", "Own memory is 61 % of the baseline's, above the limit of 50 %."),
        ),
        measurements=(
            Measurement(subject=f"{CHOICE}/onnxruntime-fp32", metric="latency", unit="s", plan="turns", phase="screening",
                        samples={"baseline": [1.15e-3, 1.16e-3], "variant": [0.41e-3, 0.42e-3], "pair": [0, 1]}, seconds=0.41,
                        processes=6, noise={"load": 0.4, "pressure": 0.02}),
            Measurement(subject=CHOICE, metric="memory", unit="bytes", plan="process", phase="screening",
                        samples={"footprint": [2306048.0], "peak": [50306048.0]}, seconds=1.9, processes=1),
        ),
    )  # fmt: skip
    decided = tuple(gate for gate in gates() if gate.verdict.outcome not in without)
    if standing == "foreign":
        model = msgspec.structs.replace(model, variants=tuple(map(_unmeasured, model.variants)))
        decided = tuple(map(_undecided, decided))
    return msgspec.structs.replace(empty(), standing=standing, models=(model,), gates=decided)


def _unmeasured(variant: VariantResult) -> VariantResult:
    """What is known of a variant without a device of the target."""
    return msgspec.structs.replace(
        variant, figures={name: figure for name, figure in variant.figures.items() if name in ("size", "accuracy")}
    )


def _undecided(gate: GateResult) -> GateResult:
    verdict = gate.verdict
    if verdict.quantity.startswith("accuracy"):
        return gate
    asked = {name: getattr(verdict, name) for name in ("claim", "subject", "quantity", "operator", "limit", "unit")}
    return GateResult(
        test=gate.test,
        verdict=Verdict(
            outcome=Outcome.UNSUPPORTED,
            device=verdict.device,
            target=verdict.target,
            model=verdict.model,
            notes=("Speed and memory are decided on a device of the target only; this one is not.",),
            **asked,
        ),
    )


def empty() -> Results:
    """A run without a model and without a gate."""
    return Results(
        schema=1,
        tool="0.1.0",
        run="20261123-140312-7f3a",
        release="1.4.0",
        started="2026-11-23T14:03:12+00:00",
        seconds=191.4,
        command="pytest suites/ --edge-target=intel --edge-release=1.4.0",
        target=Target(
            name="intel",
            title="Intel processors",
            frameworks=("openvino", "onnxruntime", "olive"),
            hardware=Hardware(vendors=("intel",)),
            limits=Limits(package=50_000_000),
        ),
        device=Device(
            name="intel-xeon-2c",
            system="linux",
            architecture="x86_64",
            vendor="intel",
            cpu="Intel(R) Xeon(R) Processor @ 2.60GHz",
            features=("avx2", "avx512_vnni", "avx512f", "fma"),
            cores=2,
            memory_bytes=8_328_556_544,
            engines={
                "openvino": (EngineDevice(name="CPU", title="Intel(R) Xeon(R)", capabilities=("fp32", "int8", "bin")),),
                "onnxruntime": (EngineDevice(name="CPUExecutionProvider"),),
            },
            environment={"virtualisation": "kvm", "kernel": "6.1.0", "python": "3.11.7"},
        ),
        standing="native",
        versions={"pytest-edgeai": "0.1.0", "onnxruntime": "1.32.0", "openvino": "2026.4.1", "nncf": "3.4.0"},
        settings={"rigor": "quick", "budget": 20.0, "inconclusive": "fail", "recipe": None, "report": "reports/latest"},
        models=(),
        gates=(),
    )


def searched(*, meets: bool = True) -> Results:
    """The same, found by a search, with the ranking, the front and the stages."""
    base = results(meets=meets)
    model = base.models[0]
    found = {one.name: one for one in model.variants}
    tuned = Recipe(framework="openvino", precision="int8", sparsity=0.2, tuning={"threads": 1}, needs=("avx512_vnni",))
    other = "onnxruntime-int8-static"
    broken = () if meets else ("is 1.62x as fast as the baseline, the limit is 2x",)
    choice = Choice(
        recipe=CHOICE,
        meets_limits=meets,
        reason="the knee point of 2 variants that meet the limits of intel (2.79x in screening)",
        breaks=broken,
        weights={"latency": 0.5, "accuracy": 0.25, "memory": 0.25},
        ranking=(
            Candidate(recipe=CHOICE, score=1.2, gains={"latency": 1.5, "accuracy": -0.1, "memory": 1.1}, breaks=broken),
            Candidate(recipe=other, score=1.1, gains={"latency": 1.2, "accuracy": -0.2, "memory": 1.3}),
        ),
        second=other,
        changes=(f"With 2.1 times the weight on memory it is {other} (--edge-prefer latency=1,memory=2.1).",),
    )
    front = Front(
        objectives=("speedup", "accuracy", "memory.footprint", "size"),
        confidence=0.95,
        members=(CHOICE, other, "openvino-fp32"),
        beaten=(
            Beaten(
                recipe="onnxruntime-int8-dynamic",
                by=other,
                evidence=(
                    "speed-up 2.31x against 0.68x: better",
                    "accuracy 97.78 % against 98.06 %: no more than 1 % worse",
                ),
            ),
        ),
        undecided=(
            Beaten(recipe="openvino-fp32", by=CHOICE, evidence=("accuracy: that it is no worse is not shown",)),
        ),
    )
    trials = (
        Trial(number=0, recipe=Recipe(framework="openvino", precision="int8"), state="measured", figures=found[CHOICE].figures),
        Trial(number=1, recipe=tuned, state="cut", figures={"size": found[CHOICE].figures["size"]}, missed=0.3,
              breaks=("keeps 70.00 % of the reference's accuracy, the limit is 95.00 %",), evidence="shown at 99 % by 360 items"),
        Trial(number=2, recipe=Recipe(framework="openvino", precision="int4"), state="failed", evidence="NNCF found nothing."),
    )  # fmt: skip
    search = Search(
        study="digits for intel 0123456789abcdef", storage="sqlite:///search.db", points=240, stopped="3 trials", trials=trials,
        resumed=1, finalists=(CHOICE, other), choice=choice, front=front, seconds={"build": 12.0, "measure": 30.0, "total": 45.0},
    )  # fmt: skip
    verdicts = tuple(_beside(gate).verdict for gate in base.gates if gate.verdict.subject == CHOICE)
    speedups = {"openvino-fp32": 1.32, CHOICE: 2.11}
    names = ("baseline", "conversion", "quantization", "hardware acceleration", "production validation")
    made = ("onnxruntime-fp32", "openvino-fp32", CHOICE, CHOICE, CHOICE)
    stages = tuple(
        Stage(
            name=name,
            recipe=recipe,
            text=f"What {name} did.",
            changed=place < 3,
            before=made[place - 1] if place else "",
            speedup=_speedup(speedups[recipe]) if place in (1, 2) else None,
            figures=found[recipe].figures,
            verdicts=verdicts if place == 4 else (),
        )
        for place, (name, recipe) in enumerate(zip(names, made, strict=True))
    )
    variants = tuple(
        msgspec.structs.replace(one, recipe=tuned, versions={"openvino": "2026.4.1"}) if one.name == CHOICE else one
        for one in model.variants
    )
    model = msgspec.structs.replace(
        model, variants=variants, choice=choice, front=front, search=search, progression=stages
    )
    return msgspec.structs.replace(base, models=(model,), gates=tuple(map(_beside, base.gates)))


def _beside(gate: GateResult) -> GateResult:
    """A share of the unoptimized model's, as it is claimed today."""
    quantity, over, _ = gate.verdict.quantity.partition(" / ")
    other = "onnxruntime-fp32" if over else ""
    return msgspec.structs.replace(gate, verdict=msgspec.structs.replace(gate.verdict, quantity=quantity, other=other))


def _speedup(times: float) -> Figure:
    return Figure(
        estimate=times, low=times - 0.02, high=times + 0.02, unit="x", confidence=0.95, n=45, method="rounds in turns"
    )


PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "<a href='https://evil.example/'>click</a>",
    "\u202egnp.exe\u202c",
    "\x1b[31mred\x1b[0m\x07",
    "{{ 7 * 7 }}{% raw %}",
    "%{customdata} ${x} $x^2$",
    "a|b`c`\x00\u2028end",
    "n" * 10_000,
    "\udc80 not UTF-8",
)
"""Names that must not act."""


def hostile(base: Results | None = None) -> Results:
    """Every text of a sample is one of the payloads."""
    turn = iter(range(10_000))

    def poisoned(value: Any, key: str = "") -> Any:
        match value:
            case str() if key in _KEPT or (key == "name" and value in _STAGES):
                return value
            case str():
                return PAYLOADS[next(turn) % len(PAYLOADS)]
            case dict() if key in _BY_NAME:
                return {PAYLOADS[next(turn) % len(PAYLOADS)]: poisoned(item) for item in value.values()}
            case dict():
                return {name: poisoned(item, name) for name, item in value.items()}
            case list() | tuple():
                return [poisoned(item, key) for item in value]
            case _:
                return value

    found = msgspec.convert(poisoned(msgspec.to_builtins(base or results(meets=False))), Results)
    return msgspec.structs.replace(found, standing="stand-in")


_KEPT = {"kind", "role", "state", "plan", "phase", "outcome", "standing", "operator", "unit"}
_STAGES = {"baseline", "conversion", "quantization", "hardware acceleration", "production validation"}
_BY_NAME = {"versions", "settings", "placement", "environment", "engines", "noise", "ops", "items", "precisions"}


def crowd(count: int, gate_count: int = 0) -> Results:
    """Many variants close to each other, and many verdicts."""
    base = results()
    frameworks = ("openvino", "onnxruntime", "olive", "mlx", "tflite", "executorch", "ncnn", "tvm")
    rows = [
        dataclasses.replace(
            ROWS[1],
            name=f"{frameworks[i % len(frameworks)]}-int8-trial{i}",
            p50=((0.4 + 0.031 * ((i * 7) % 23)) * 1e-3, 0.01e-3),
            size=380_000 + 17_000 * ((i * 5) % 19),
            footprint=2.1e6 + 90_000 * ((i * 11) % 17),
            accuracy=(0.97 + 0.0007 * ((i * 13) % 21), 0.004),
        )
        for i in range(count)
    ]
    model = msgspec.structs.replace(base.models[0], variants=(*base.models[0].variants, *map(variant, rows)))
    many = tuple(
        msgspec.structs.replace(base.gates[i % len(base.gates)], test=f"{FILE}::test_many[{i}]")
        for i in range(gate_count)
    )
    return msgspec.structs.replace(base, models=(model,), gates=many or base.gates)


def several() -> Results:
    """Three models: one fine, one where nothing meets the limits, one without figures for its charts."""
    first = results().models[0]
    second = msgspec.structs.replace(
        results(meets=False).models[0], model=msgspec.structs.replace(first.model, name="detector")
    )
    third = msgspec.structs.replace(
        first,
        model=msgspec.structs.replace(first.model, name="keywords"),
        variants=tuple(map(_unmeasured, first.variants)),
        choice=None,
        refusals=(),
        assessment=None,
        measurements=(),
    )
    return msgspec.structs.replace(results("stand-in"), models=(first, second, third))
