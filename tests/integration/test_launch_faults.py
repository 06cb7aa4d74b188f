"""Weft dies or stands still at each step of a launch, with two wefts: one agent for each launch, and none is left over.

LAUNCH_SEEDS ("0-49") runs other schedules than those few.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.integration.fabric import Fabric
from tests.integration.launch_faults import Pair, Schedule, hold

FEW = (11, 20, 48)  # a leader dies before it tells an agent to end; stands still before a start; dies while it closes
ANOTHER_KEY = "was shown by another key"


def seeds() -> tuple[int, ...]:
    """Return the schedules to run."""
    first, _, last = os.environ.get("LAUNCH_SEEDS", "").partition("-")
    return tuple(range(int(first), int(last or first) + 1)) if first else FEW


@pytest.mark.timeout(200 + 60 * len(seeds()))
async def test_one_agent_for_each_launch_and_none_left_over_whenever_weft_dies(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start_broker()
    pair = Pair(private_fabric)
    for seed in seeds():
        schedule = Schedule.of(seed)
        began = time.monotonic()
        await hold(pair, schedule, f"{project_id}-{seed}")
        print(f"{time.monotonic() - began:.0f} s: {schedule}")
    assert ANOTHER_KEY not in pair.logs()
