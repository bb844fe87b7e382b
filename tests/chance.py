"""Chance: how many false verdicts a promise allows for in so many runs."""

from scipy.special import bdtr


def promised(alpha: float, runs: int) -> float:
    """The largest share of false verdicts that chance makes of a true rate of ``alpha`` in all but one of a thousand tests."""
    return next(k for k in range(runs) if bdtr(k, runs, alpha) > 0.999) / runs
