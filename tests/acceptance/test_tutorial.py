"""What docs/tutorial.md tells people to type does what it says, and looks as it shows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loominal.broker.server import free_port
from tests.acceptance.pages import DOCS, a_users_home, typed
from tests.acceptance.transcripts import missing

PAGE = (DOCS / "tutorial.md").read_text()
SECONDS = 240.0  # for all of it, on a loaded machine; alone it takes 20
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with a_users_home(tmp_path) as home:
        yield home


@pytest.mark.skipif(not shutil.which("bash"), reason="NOT SHOWN HERE: bash runs it")
@pytest.mark.timeout(SECONDS + 60)
def test_the_tutorial_does_what_it_says_and_shows(place: Path) -> None:
    parts = BLOCK.findall(PAGE)
    commands, shown = ([text for kind, text in parts if kind == wanted] for wanted in ("sh", "text"))
    assert [kind for kind, _ in parts] == ["sh", "text"] * len(commands)

    script = "\n".join(f"echo '### {number}'\n{text}" for number, text in enumerate(commands))
    code, told = typed(f"set -eu\n{script}", place, free_port(), seconds=SECONDS)

    assert code == 0, told
    outputs = re.split(r"^### \d+\n", told, flags=re.MULTILINE)[1:]
    wrong = {text: missing(text, output) for text, output in zip(shown, outputs, strict=True) if missing(text, output)}
    assert not wrong, f"{wrong}\n{told}"
