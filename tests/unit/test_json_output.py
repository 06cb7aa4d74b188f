"""JSON that a terminal shows: it says the same, and nothing in it is obeyed."""

from __future__ import annotations

import json
import unicodedata

import msgspec
import pytest

from loominal.shuttle.json_output import print_document, print_line

TEXT = "a\x1b[31m\x7f\x85\x9b2J\u061c\u200e\u202ebidi\u2066\u2028\u2029\n→ 宽 👩\u200d🚀"  # the last is one character


def test_what_a_terminal_may_obey_is_escaped(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    document = msgspec.json.encode({"text": TEXT, TEXT: [TEXT]})

    print_line(document)
    print_document(document)

    line, _, lines = capsysbinary.readouterr().out.decode().partition("\n")
    assert json.loads(line) == json.loads(lines) == {"text": TEXT, TEXT: [TEXT]}
    seen = {each for each in line + lines if unicodedata.category(each).startswith("C")}
    assert seen == {"\n", "\u200d"}
    assert "→ 宽" in line
