"""What is asked is bounded, also where it is short enough that its parts need not be measured one by one."""

from __future__ import annotations

import msgspec
import pytest

from loominal.fabric.operations.inbox import SendDirectMessage
from loominal.fabric.protocol import FIELD_BYTES, NESTED_LEVELS, PLAIN_BYTES, arguments
from loominal.model.errors import InvalidArgument, TooLarge


def _asked(**fields: object) -> bytes:
    return msgspec.json.encode({"recipientGuid": "ada", "message": "hello", **fields})


def _nested(levels: int) -> dict[str, object]:
    nested: dict[str, object] = {}
    for _ in range(levels):
        nested = {"a": nested}
    return nested


def test_brackets_in_a_text_are_no_nesting() -> None:
    text = "[{" * NESTED_LEVELS

    assert arguments(SendDirectMessage, _asked(message=text)).message == text


@pytest.mark.parametrize("levels", range(NESTED_LEVELS - 4, NESTED_LEVELS + 1))
def test_what_is_nested_to_the_limit_is_taken(levels: int) -> None:
    assert arguments(SendDirectMessage, _asked(metadata=_nested(levels))).metadata == _nested(levels)


def test_what_is_nested_deeper_is_refused_however_short() -> None:
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        arguments(SendDirectMessage, _asked(metadata=_nested(NESTED_LEVELS + 1)))


def test_a_number_that_grows_as_it_is_written_anew_is_measured_so() -> None:
    short = b'{"recipientGuid":"ada","message":"hello","metadata":{"a":[' + b",".join([b"1e15"] * 12_000) + b"]}}"

    assert len(short) < FIELD_BYTES
    with pytest.raises(TooLarge):
        arguments(SendDirectMessage, short)


def test_what_is_too_short_to_be_measured_cannot_grow_beyond_the_limit() -> None:
    growth = max(len(msgspec.json.encode(10.0**each)) / len(f"1e{each}") for each in range(-308, 309))

    assert growth * PLAIN_BYTES < FIELD_BYTES
