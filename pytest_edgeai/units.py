"""Units: plain numbers to multiply by, and how a number with a unit is shown.

The base units are seconds, bytes and ratios (1 = equal); ``8 * ms`` is 0.008 seconds.
"""

from collections.abc import Mapping
from typing import Final

s: Final = 1.0
ms: Final = 1e-3
us: Final = 1e-6
kB: Final = 1e3  # noqa: N816 - the SI symbol
MB: Final = 1e6
GB: Final = 1e9
KiB: Final = 2.0**10
MiB: Final = 2.0**20
GiB: Final = 2.0**30

_TIMES = ((1.0, "s"), (ms, "ms"), (us, "µs"), (1e-9, "ns"))
_SIZES = ((GB, "GB"), (MB, "MB"), (kB, "kB"))


def show(value: float, unit: str) -> str:
    """``value`` in ``unit`` for people, with three digits.

    "s" and "bytes" are shown in the multiple that suits them; "x", "proportion", "ratio", "ppl" and "nats" as is usual for them; another unit stands
    behind the number as it is. Four digits of a perplexity ("ppl") and of "bits/byte": variants of a language model differ in the third one.
    """
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    match unit:
        case "s":
            size, sign = next((t for t in _TIMES if abs(value) >= t[0]), _TIMES[-1])
            return f"{_digits(value / size)} {sign}"
        case "bytes":
            found = next((t for t in _SIZES if abs(value) >= t[0]), None)
            return f"{_digits(value / found[0])} {found[1]}" if found else f"{value:.0f} B"
        case "x":
            return f"{_digits(value)}x"
        case "proportion":
            return f"{100 * value:.2f} %"
        case "ratio":
            return _digits(value, 3 if abs(value) < 1 else 4)  # 0.947 or 1.052: limits lie near 1
        case "ppl":
            return _digits(value, 4)  # without a sign: it has no dimension, and its name stands beside it
        case "bits/byte":
            return f"{_digits(value, 4)} {unit}"
        case "nats" if 0 < abs(value) < 1e-4:  # two engines that compute the same differ by so little
            return f"{value:.1e} {unit}".replace("e-0", "e-")
        case "nats" if abs(value) < 0.01:
            return f"{_digits(value, 2)} {unit}"
        case _:
            return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float, count: int = 3) -> str:
    """So many significant digits without an exponent; whole numbers from 1000 on."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    text = f"{value:.{count}g}"
    return f"{value:.6f}".rstrip("0").rstrip(".") if "e" in text else text


KINDS_TOLD = 8
"""Kinds that :func:`counted` names."""


def counted(kinds: Mapping[str, int]) -> str:
    """``30 Conv, 27 Relu, 13 Add, 4 others``: the most frequent first."""
    most = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    told = [f"{count} {kind}" for kind, count in most[:KINDS_TOLD]]
    others = sum(count for _, count in most[KINDS_TOLD:])
    return ", ".join([*told, *([f"{others} other{'s' * (others > 1)}"] if others else [])])
