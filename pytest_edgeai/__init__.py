"""pytest-edgeai: optimized variants of a model as fixtures, quality gates as plain assertions, verdicts that hold on a noisy machine."""

from pytest_edgeai.units import GB, MB, GiB, KiB, MiB, kB, ms, s, us

__all__ = ["GB", "MB", "GiB", "KiB", "MiB", "corpus_score", "hookimpl", "kB", "ms", "s", "us"]


def __getattr__(name: str) -> object:
    # Not imported above: a pytest start that uses no edge fixture must not pay for it.
    if name == "hookimpl":
        from pytest_edgeai.hookspecs import hookimpl

        return hookimpl
    if name == "corpus_score":
        from pytest_edgeai.scoring import corpus_score

        return corpus_score
    raise AttributeError(f"module 'pytest_edgeai' has no attribute '{name}'")
