"""docs/shuttle.md says what the commands say."""

from __future__ import annotations

import re

from loominal.shuttle.config import KEYS
from loominal.shuttle.main import INTERRUPTED
from loominal.shuttle.refusals import EXIT_CODES
from loominal.shuttle.tables import cell_width
from tests.manual import PAGE, written


def test_the_manual_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == written(), "`make manual` writes it"


def test_the_manual_has_every_setting_and_every_exit_code() -> None:
    page = PAGE.read_text()

    assert re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE) == list(KEYS)
    assert set(map(int, re.findall(r"^\| (\d+) \|", page, re.MULTILINE))) == {
        0, *(code for _, code in EXIT_CODES), INTERRUPTED,
    }  # fmt: skip


def test_each_command_of_the_manual_has_an_example_of_itself() -> None:
    parts = re.split(r"^##+ (shuttle .+)\n", PAGE.read_text(), flags=re.MULTILINE)

    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        assert re.search(rf"^{name}\b", text.partition("```sh\n")[2], re.MULTILINE), name


def test_no_line_of_a_capture_is_wider_than_its_terminal() -> None:
    sizes = re.split(r"^## (\d+) × \d+\n", (PAGE.parent / "terminals.md").read_text(), flags=re.MULTILINE)

    assert sizes[1::2] == ["80", "200"]
    for width, text in zip(sizes[1::2], sizes[2::2], strict=True):
        blocks = re.findall(r"```text\n(.+?)```", text, re.DOTALL)
        assert len(blocks) == 3
        assert all(cell_width(line) <= int(width) for block in blocks for line in block.splitlines())
