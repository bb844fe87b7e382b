"""Samples of language models: results of runs that never happened, of three engines with a baseline each."""

import dataclasses
from typing import Any, Literal

import msgspec

from pytest_edgeai.records import (
    Assessment,
    Choice,
    Figure,
    GateResult,
    LanguageFacts,
    Measurement,
    Model,
    ModelResult,
    Outcome,
    Quantizable,
    Refusal,
    Results,
    TensorSpec,
    VariantResult,
    Verdict,
)
from tests.report import sample

REFERENCE = "openvino-fp32"
CHOICE = "llamacpp-q4_k_m"
FILE = "suites/language/test_gates.py"


@dataclasses.dataclass(frozen=True)
class Row:
    """What makes one variant differ from the others: estimates."""

    name: str
    size: int
    perplexity: float
    divergence: float
    agreement: float
    accuracy: float
    decode: float
    """Tokens a second."""
    first: float
    """Seconds to the first token."""
    footprint: float
    cold: float
    speedup: float | None = None
    """``None``: a baseline."""


ROWS = (
    Row(REFERENCE, 37_916_204, 14.2183, 0.0, 1.0, 0.7483, 612.0, 24.1e-3, 41.2e6, 0.212),
    Row("llamacpp-f16", 19_003_744, 14.2190, 3.1e-6, 0.9991, 0.7483, 1204.0, 31.7e-3, 22.9e6, 0.041),
    Row("mlx-fp16", 18_958_336, 14.2201, 8.8e-6, 0.9986, 0.7467, 103.0, 96.4e-3, 27.3e6, 0.067),
    Row("llamacpp-q8_0", 10_112_480, 14.2244, 0.00041, 0.9902, 0.7483, 1790.0, 27.9e-3, 13.1e6, 0.033, 1.49),
    Row("llamacpp-q6_k", 7_830_528, 14.2512, 0.00192, 0.9813, 0.7450, 1986.0, 30.2e-3, 10.6e6, 0.030, 1.65),
    Row(CHOICE, 5_942_112, 14.5120, 0.01683, 0.9467, 0.7383, 2514.0, 29.8e-3, 8.4e6, 0.028, 2.09),
    Row("openvino-int8", 9_702_311, 14.2307, 0.00088, 0.9880, 0.7467, 1288.0, 19.6e-3, 13.8e6, 0.187, 2.10),
    Row("openvino-int4", 6_120_040, 14.8862, 0.03922, 0.9210, 0.7217, 1431.0, 21.3e-3, 9.9e6, 0.195, 2.34),
    Row("mlx-int8", 10_320_112, 14.2331, 0.00093, 0.9875, 0.7467, 248.0, 88.1e-3, 15.5e6, 0.058, 2.41),
    Row("mlx-int4-g64", 5_811_200, 15.0291, 0.04811, 0.9133, 0.7133, 229.0, 84.9e-3, 10.2e6, 0.055, 2.22),
)  # fmt: skip


def figures(row: Row) -> dict[str, Figure]:
    """All that is measured of a variant."""

    def around(estimate: float, half: float, unit: str, n: int, method: str, confidence: float = 0.95) -> Figure:
        return Figure(
            estimate=estimate,
            low=estimate - half,
            high=estimate + half,
            unit=unit,
            confidence=confidence,
            n=n,
            method=method,
        )

    text = "16000 tokens of 48 documents, delta method"
    calls = "order statistics of calls alone"
    step = 1 / row.decode
    found = {
        "size": Figure(estimate=row.size, low=row.size, high=row.size, unit="bytes", confidence=1, n=1, method="exact"),
        "perplexity": around(row.perplexity, 0.62, "ppl", 16000, text),
        "bits_per_byte": around(row.perplexity / 13.1, 0.031, "bits/byte", 16000, text),
        "kl_divergence": around(row.divergence, 0.07 * row.divergence, "nats", 16000, text),
        "agreement": around(row.agreement, 0.25 * (1 - row.agreement), "proportion", 16000, text),
        "accuracy": around(row.accuracy, 0.0347, "proportion", 600, "Clopper-Pearson"),
        "decode.throughput": around(row.decode, 0.012 * row.decode, "tokens/s", 40, calls),
        "prefill.throughput": around(64 / row.first, 0.9 / row.first, "tokens/s", 40, calls),
        "ttft.p50": around(row.first, 0.02 * row.first, "s", 40, calls),
        "ttft.p95": around(1.2 * row.first, 0.07 * row.first, "s", 40, calls),
        "tpot.p50": around(step, 0.012 * step, "s", 40, calls),
        "tpot.p95": around(1.09 * step, 0.04 * step, "s", 40, calls),
        "tpot.jitter": Figure(
            estimate=0.021, low=0.021, high=0.021, unit="proportion", confidence=0, n=40, method="rMAD of calls alone"
        ),
        "end_to_end.p50": around(row.first + 63 * step, 0.01, "s", 40, calls),
        "memory.footprint": around(row.footprint, 0.01 * row.footprint, "bytes", 2, "range of 2 processes", 1),
        "memory.peak": around(row.footprint + 61e6, 1e6, "bytes", 2, "range of 2 processes", 1),
        "cold_start": around(row.cold, 0.05 * row.cold, "s", 2, "range of 2 processes", 1),
    }
    if row.speedup is None:
        return found
    return found | {"decode.speedup": around(row.speedup, 0.03 * row.speedup, "x", 41, "rounds in turns")}


def variant(row: Row) -> VariantResult:
    """A variant that was built and measured."""
    framework, _, precision = row.name.partition("-")
    return VariantResult(
        name=row.name,
        framework=framework,
        precision=precision,
        role="baseline" if row.speedup is None else "variant",
        state="built",
        reason="the unoptimized model in its own engine"
        if row.speedup is None
        else "Its matrices have rows of 256, 768 numbers, all of them multiples of 256.",
        bytes=row.size,
        build_seconds=1.7,
        key="3f6c1d9a" * 8,
        placement={"device": "CPU", "threads": "2"},
        figures=figures(row),
    )


def failed() -> VariantResult:
    """A variant whose engine died."""
    return VariantResult(
        name="olive-int4",
        framework="olive",
        precision="int4",
        role="variant",
        state="failed",
        reason="olive-int4: the worker failed in phase 'build': killed by SIGILL.\n  | Fatal Python error: Illegal instruction",
    )


def verdict(outcome: Outcome, subject: str, claim: str, limit: float, **fields: Any) -> Verdict:
    """A verdict on the sample's device; ``claim`` without its subject."""
    quantity, operator, *_ = claim.split()
    return Verdict(
        outcome=outcome,
        claim=f"{subject} {claim}",
        subject=subject,
        quantity=quantity,
        operator=operator,
        limit=limit,
        device="intel-xeon-2c",
        target="intel",
        model="tiny_lm",
        **fields,
    )


def gates() -> tuple[GateResult, ...]:
    """What the suite for language models decides."""
    ratio: dict[str, Any] = {"unit": "ratio", "confidence": 0.95, "method": "paired by document, delta method"}
    calls: dict[str, Any] = {"unit": "s", "confidence": 0.99, "method": "order statistics of calls alone"}
    worth = f"{FILE}::test_the_choice_is_worth_shipping"
    quality = f"perplexity <= 1.05 * {REFERENCE} perplexity"
    return (
        GateResult(test=f"{FILE}::test_keeps_its_perplexity[{CHOICE}]", verdict=verdict(
            Outcome.PASS, CHOICE, quality, 1.05, estimate=1.0207, low=1.0161, high=1.0253, spent="16000 tokens of 48 documents", **ratio)),
        GateResult(test=f"{FILE}::test_keeps_its_perplexity[mlx-int4-g64]", verdict=verdict(
            Outcome.FAIL, "mlx-int4-g64", quality, 1.05, estimate=1.0570, low=1.0511, high=1.0632, spent="16000 tokens of 48 documents", **ratio,
            notes=("Its perplexity is 5.7 % above the reference's.",))),
        GateResult(test=f"{FILE}::test_stays_close[{CHOICE}]", verdict=verdict(
            Outcome.PASS, CHOICE, "kl_divergence <= 0.1 nats", 0.1, unit="nats", estimate=0.01683, low=0.0156, high=0.0181,
            confidence=0.95, method="clustered by document")),
        GateResult(test=f"{FILE}::test_stays_close[olive-int4]", verdict=verdict(
            Outcome.ERROR, "olive-int4", "kl_divergence <= 0.1 nats", 0.1, unit="nats",
            notes=("olive-int4: the worker failed in phase 'build': killed by SIGILL.",))),
        GateResult(test=worth, verdict=verdict(
            Outcome.PASS, CHOICE, "decode.speedup >= 2", 2.0, unit="x", estimate=2.09, low=2.04, high=2.15, confidence=0.99,
            spent="3 process pairs, 41 rounds, 12 s", method="sign e-process, then t on the medians of process pairs")),
        GateResult(test=worth, verdict=verdict(
            Outcome.PASS, CHOICE, "decode.throughput >= 500 tokens/s", 500.0, unit="tokens/s", estimate=2514.0, low=2484.0, high=2544.0,
            confidence=0.99, method="order statistics of calls")),
        GateResult(test=worth, verdict=verdict(
            Outcome.PASS, CHOICE, "ttft.p95 <= 200 ms", 0.2, estimate=0.0358, low=0.0337, high=0.0379, **calls)),
        GateResult(test=f"{FILE}::test_is_steady", verdict=verdict(
            Outcome.INCONCLUSIVE, "openvino-int8", "tpot.p95 <= 850 µs", 850e-6, estimate=846e-6, low=815e-6, high=877e-6, **calls,
            notes=("The limit lies inside the bounds after the whole budget of 20 s.",))),
        GateResult(test=f"{FILE}::test_energy[{REFERENCE}]", verdict=verdict(
            Outcome.UNSUPPORTED, REFERENCE, "energy.per_token <= 0.01 J", 0.01, unit="J",
            notes=("This machine is virtual and has no energy counter.",))),
    )  # fmt: skip


def assessment() -> Assessment:
    """Of a small model of the Llama family."""
    return Assessment(
        digest="c0ffee01" * 8,
        bytes=18_930_448,
        parameters=9_460_992,
        macs=None,
        architecture="transformer",
        ops={},
        inputs=(TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", 4096)),),
        opset=0,
        weight_dtypes=("bfloat16",),
        precisions={
            "fp16": Quantizable(possible=True, reason="its weights are bfloat16"),
            "k-quants": Quantizable(
                possible=True, reason="its matrices have rows of 256, 768 numbers, all of them multiples of 256"
            ),
        },
        language=LanguageFacts(
            family="llama",
            layers=8,
            hidden=256,
            heads=8,
            kv_heads=4,
            vocabulary=4096,
            context=1024,
            dtype="bfloat16",
            active_parameters=9_460_992,
            tied=True,
            tokenizer="BPE",
        ),
    )


def model(*, meets: bool = True) -> ModelResult:
    """Three engines with a baseline each, seven variants, and one that could not be built."""
    return ModelResult(
        model=Model(name="tiny_lm", path="fixtures/tiny_lm", kind="huggingface", digest="c0ffee01" * 8),
        score="completion",
        items={"selection": 200, "confirmation": 400},
        assessment=assessment(),
        reference=REFERENCE,
        refusals=(
            Refusal(recipe="llamacpp-q5_k_m", reason="It was not asked for: --edge-recipe names others."),
            Refusal(recipe="olive-fp32", reason="ONNX Runtime GenAI is not installed: pip install onnxruntime-genai"),
        ),
        variants=(*map(variant, ROWS), failed()),
        choice=Choice(
            recipe=CHOICE,
            meets_limits=meets,
            reason="The fastest of the 2 variants that meet every limit of intel.",
            breaks=() if meets else ("Decodes 1.62x as fast as the baseline, below the limit of 2x.",),
        ),
        measurements=(
            Measurement(subject=f"{CHOICE}/llamacpp-f16", metric="decode", unit="s", plan="turns", phase="screening",
                        samples={"baseline": [830e-6, 832e-6], "variant": [398e-6, 401e-6]}, seconds=12.4, processes=6),
        ),
    )  # fmt: skip


def results(standing: Literal["native", "stand-in", "foreign"] = "native", *, meets: bool = True) -> Results:
    """A run of the language suite. On a foreign device quality and size are known, and the choice is the smallest."""
    found, decided = model(meets=meets), gates()
    if standing == "foreign":
        variants = tuple(
            msgspec.structs.replace(v, figures={n: f for n, f in v.figures.items() if n in ANYWHERE})
            for v in found.variants
        )
        smallest = Choice(
            recipe="mlx-int4-g64",
            meets_limits=True,
            reason="the smallest that meets the limits; speed can't be measured on this device",
        )
        found = msgspec.structs.replace(found, variants=variants, choice=smallest)
        decided = tuple(gate for gate in decided if gate.verdict.quantity in ANYWHERE)
    base = sample.empty()
    target = msgspec.structs.replace(base.target, language_frameworks=("openvino", "llamacpp", "olive", "mlx"))
    return msgspec.structs.replace(base, target=target, standing=standing, models=(found,), gates=decided)


ANYWHERE = {"size", "perplexity", "bits_per_byte", "kl_divergence", "agreement", "accuracy"}
"""Figures of any device."""


def beside_tensors() -> Results:
    """One model of either kind in a run."""
    tensors = sample.results()
    return msgspec.structs.replace(
        tensors, models=(*tensors.models, model()), gates=(*tensors.gates, *gates()), target=results().target
    )
