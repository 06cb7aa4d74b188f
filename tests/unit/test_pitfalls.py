"""Faults that were seen in systems of this kind, numbered: for each of those of agents and work there is a test."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
SHOWN = re.compile(r"@pytest\.mark\.pitfall\((\d+)\)\n(?:@.*\n)*(?:async )?def test_")


def test_each_of_the_pitfalls_of_agents_and_work_has_a_test() -> None:
    marked = {int(number) for path in TESTS.rglob("test_*.py") for number in SHOWN.findall(path.read_text())}

    assert marked >= set(range(1, 29))
