"""Figures: what was measured, what the raw operation took in the same run, and what the ratio should be."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import TypeVar

import msgspec

T = TypeVar("T")
Measure = Callable[[], Awaitable[T]]


class Figure(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One line of the table. Without `raw` nothing lies under it; a target bounds the ratio, or else the value."""

    name: str
    value: float
    unit: str
    raw: float | None = None
    raw_name: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the raw one."""
        return self.value / self.raw if self.raw else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None if there is none."""
        found = self.value if self.raw is None else self.ratio
        if found is None or (self.at_most is None and self.at_least is None):
            return None
        return (self.at_most is None or found <= self.at_most) and (self.at_least is None or found >= self.at_least)

    def told(self) -> dict[str, object]:
        """Return the figure as JSON knows it, with its ratio and whether the target is met."""
        told: dict[str, object] = msgspec.to_builtins(self)
        return told | {"ratio": self.ratio, "met": self.met}


class Spread(msgspec.Struct, frozen=True):
    """How long something took, in milliseconds."""

    p50: float
    p95: float


def spread(seconds: Sequence[float]) -> Spread:
    """Return the spread of times taken in seconds."""
    ordered = sorted(seconds)
    return Spread(1000 * median(ordered), 1000 * ordered[math.ceil(0.95 * len(ordered)) - 1])


def middle(spreads: Sequence[Spread]) -> Spread:
    """Return the medians over rounds."""
    return Spread(median(each.p50 for each in spreads), median(each.p95 for each in spreads))


async def interleaved(rounds: int, *measures: Measure[T]) -> list[list[T]]:
    """Return what each measure gave in each round; in a round they take turns, so that a slow minute hits all."""
    found: list[list[T]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, results in zip(measures, found, strict=True):
            results.append(await measure())
    return found


async def timed(count: int, deed: Callable[[int], Awaitable[object]]) -> Spread:
    """Return how long `deed` takes, done `count` times one after the other."""
    taken = []
    for number in range(count):
        began = time.perf_counter()
        await deed(number)
        taken.append(time.perf_counter() - began)
    return spread(taken)


def latencies(name: str, ours: Spread, raw: Spread, raw_name: str, **targets: float) -> list[Figure]:
    """Return the p50 and the p95 as figures; `p50` and `p95` in `targets` bound their ratios."""
    return [
        Figure(
            name=f"{name} {each}",
            value=getattr(ours, each),
            unit="ms",
            raw=getattr(raw, each),
            raw_name=f"{raw_name} {each}",
            at_most=targets.get(each),
        )
        for each in ("p50", "p95")
    ]
