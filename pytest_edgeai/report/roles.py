"""Roles: what a variant is to its model: a baseline, the reference, the choice."""

from pytest_edgeai.records import ModelResult, VariantResult


def baselines(model: ModelResult) -> list[VariantResult]:
    """The unoptimized model, once or in several engines."""
    return [variant for variant in model.variants if variant.role == "baseline"]


def reference_of(model: ModelResult) -> VariantResult | None:
    """What quality is compared with; the first baseline where the results don't name it."""
    found = baselines(model)
    return next((variant for variant in found if variant.name == model.reference), found[0] if found else None)


def baseline_of(model: ModelResult, variant: VariantResult) -> VariantResult | None:
    """What its speed and memory are compared with: the unoptimized model in its own engine, else the only one there is."""
    own = (baseline for baseline in baselines(model) if baseline.framework == variant.framework)
    return next(own, reference_of(model))


def is_choice(model: ModelResult, variant: VariantResult) -> bool:
    """Also of a choice that only comes nearest to the limits."""
    return model.choice is not None and variant.role == "variant" and variant.name == model.choice.recipe


def badges(model: ModelResult, variant: VariantResult) -> tuple[str, ...]:
    """In one word each, the telling one last. Where one baseline serves all engines it needs no second one."""
    if variant.role == "baseline":
        by_engine = model.assessment is not None and model.assessment.language is not None
        return ("baseline", "reference") if by_engine and variant is reference_of(model) else ("baseline",)
    if model.choice is not None and is_choice(model, variant):
        return ("choice",) if model.choice.meets_limits else ("nearest",)
    return ()
