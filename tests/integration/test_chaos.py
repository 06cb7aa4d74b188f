"""A short run of `make chaos`: ten rounds of faults among working agents, and nothing accepted is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.run import Settings, run

SEED = 1079  # thirteen kinds of faults: agents, both wefts and the broker are killed, the leader is frozen and stopped


@pytest.mark.timeout(240)
async def test_nothing_accepted_is_lost_or_doubled_whatever_dies(tmp_path: Path) -> None:
    outcome = await run(Settings(seed=SEED, rounds=10, wefts=2), tmp_path, print)

    assert outcome.violations == []
    assert outcome.items >= 200
    assert outcome.messages >= 900
