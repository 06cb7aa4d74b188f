"""The hub's clock: a machine that slept or whose clock was set does not let deadlines pass."""

from __future__ import annotations

import time

import pytest

from loominal.fabric.hub.clock import JUMP_SECONDS, SETTLE_SECONDS, Clock


class Times:
    """What the system's two clocks say."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 500.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()
    monkeypatch.setattr(time, "time", lambda: times.wall)
    monkeypatch.setattr(time, "monotonic", lambda: times.monotonic)
    return times


@pytest.mark.parametrize("jump", [3600.0, -3600.0, JUMP_SECONDS + 0.1])
def test_a_clock_that_jumped_is_not_trusted_for_a_while(times: Times, jump: float) -> None:
    clock = Clock()
    clock.tick()
    times.wall += jump
    assert not clock.settled  # also between two ticks
    times.pass_by(SETTLE_SECONDS - 1)
    assert not clock.settled
    times.pass_by(2)
    assert clock.settled


def test_time_that_passes_on_both_clocks_is_no_jump(times: Times) -> None:
    clock = Clock()
    times.pass_by(3600)
    assert clock.settled
