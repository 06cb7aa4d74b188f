"""What is kept of the channels' newest messages."""

from __future__ import annotations

from datetime import UTC, datetime

from loominal.fabric.hub.talk.recent import KEPT_BYTES, LONGEST_BYTES, Recent, Shown
from loominal.fabric.operations.channels import ChannelMessage

AT = datetime(2026, 1, 31, 18, tzinfo=UTC)


def shown(sequence: int, size: int = 500) -> Shown:
    return Shown(sequence, ChannelMessage(id=f"m_c{sequence}", handle="ada", message="x", timestamp=AT), "guid", size)


def test_a_message_is_found_again() -> None:
    recent = Recent()
    recent.keep(shown(7))

    assert recent.get(7) == shown(7)
    assert recent.get(8) is None


def test_the_one_not_read_for_longest_makes_room() -> None:
    recent, room = Recent(), KEPT_BYTES // LONGEST_BYTES
    for sequence in range(room):
        recent.keep(shown(sequence, LONGEST_BYTES))
    recent.get(0)
    recent.keep(shown(room, LONGEST_BYTES))

    assert recent.get(0) is not None
    assert recent.get(1) is None
    assert recent.get(room) is not None


def test_a_long_message_pushes_nothing_out() -> None:
    recent = Recent()
    recent.keep(shown(1))
    recent.keep(shown(2, LONGEST_BYTES + 1))

    assert recent.get(1) is not None
    assert recent.get(2) is None


def test_a_message_kept_twice_counts_once() -> None:
    recent = Recent()
    for _ in range(10 * KEPT_BYTES // LONGEST_BYTES):
        recent.keep(shown(1, LONGEST_BYTES))
    recent.keep(shown(2, LONGEST_BYTES))

    assert recent.get(1) is not None
    assert recent.get(2) is not None
