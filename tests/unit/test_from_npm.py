"""docs/from-npm.md names every tool, and only commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

from loominal.shuttle.main import COMMANDS
from loominal.warp.tools import TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "from-npm.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_it_has_each_tool_once_as_one_of_the_16_or_as_new() -> None:
    rows = [line.split("|")[2:4] for line in section("Tools").splitlines() if line.startswith("|")][2:]
    known, new = ([name for row in rows for name in re.findall(r"`(\w+)`", row[place])] for place in (0, 1))

    assert (len(known), len(new)) == (16, 10)
    assert sorted(known + new) == sorted(TOOLS)


def test_it_names_every_command() -> None:
    table = section("Commands")

    assert [name for name in COMMANDS if name != "completion" and not re.search(rf"\b{name}\b", table)] == []
