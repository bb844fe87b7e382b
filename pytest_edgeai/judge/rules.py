"""The rules: error rates and effort that a verdict is decided with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Error rates are per comparison and side."""

    budget: float
    """Seconds of sampling for one comparison."""
    pairs: int = 3
    """Pairs of processes that take turns."""
    looks: tuple[int, ...] = (5,)
    """Numbers of pairs at which their medians are looked at, where rounds alone don't decide."""
    alpha: float = 0.01
    """Of a false PASS and of a false FAIL on speed."""
    accuracy_pass: float = 0.05
    """Of a false PASS on accuracy: the usual level of a non-inferiority test."""
    accuracy_fail: float = 0.01
    guard: float = 0.02
    """ln of a ratio that the layout of two processes' memory alone can make; nearer to the limit than this, rounds of few pairs prove nothing."""
    contended: float = 4.0
    """Factor by which neighbours on the cores may change a speed-up."""
    canary_spread: float = 0.10
    """Spread (rMAD) of the constant work above which the machine was not steady."""
    canary_tail: float = 1.5
    """Ratio p99/p50 of the constant work above which the machine was not steady."""
    canary_speed: float = 0.9
    """Share of the constant work's best speed on this machine below which the machine was slow."""
    share: float = 1.0
    """Of the error rate of a false FAIL, this comparison's part: the gates of a run share one (Bonferroni). A false PASS needs no share, because
    a release needs all its gates (intersection-union: Berger 1982)."""

    turned: bool = False
    """Whether the claim that is decided is the opposite of the one that was made: then its PASS is what reddens the gate."""

    @property
    def alpha_pass(self) -> float:
        """Of a false PASS of the claim that is decided, on speed."""
        return self.alpha * (self.share if self.turned else 1)

    @property
    def alpha_fail(self) -> float:
        """Of a false FAIL of it."""
        return self.alpha * (1 if self.turned else self.share)


RIGOR = {"quick": Rules(budget=20.0, looks=(5, 8)), "strict": Rules(budget=120.0, looks=(6, 12))}
"""``--edge-rigor`` -> rules."""
