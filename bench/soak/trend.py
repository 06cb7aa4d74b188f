"""Whether something grows: a line through the second half of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, linear_regression

import msgspec

GROWTH_SHARE = 0.05  # over the second half; less is noise: garbage collectors, agents that happen to be away
ALWAYS_FLAT = {"MB": 1.5, "": 4.0}  # growth of so much says nothing, however small the whole is


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity over time; `growth` is the line's, from the middle to the end."""

    name: str
    unit: str
    first: float
    middle: float
    last: float
    growth: float
    per_minute: float
    kept: bool = False  # it may grow: the store keeps more and more

    @property
    def flat(self) -> bool:
        """Whether what growth there is says nothing."""
        return self.growth <= max(GROWTH_SHARE * self.middle, ALWAYS_FLAT[self.unit])


def trend(name: str, unit: str, seconds: Sequence[float], values: Sequence[float], *, kept: bool = False) -> Trend:
    """Return how `values`, measured at `seconds`, go on in their second half."""
    half = len(values) // 2
    slope = linear_regression(seconds[half:], values[half:]).slope
    return Trend(
        name=name,
        unit=unit,
        first=values[0],
        middle=fmean(values[half : half + 3]),
        last=fmean(values[-3:]),
        growth=slope * (seconds[-1] - seconds[half]),
        per_minute=60 * slope,
        kept=kept,
    )
