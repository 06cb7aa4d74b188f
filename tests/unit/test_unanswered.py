"""A send or an offer whose answer never came is the same deed when it is asked for again."""

from __future__ import annotations

from loominal.fabric.client.unanswered import Unanswered
from loominal.fabric.operations import OPERATIONS

SEND, OFFER, PRESENCE = (OPERATIONS[name] for name in ("send_message", "broadcast_work_offer", "update_presence"))


def test_each_unanswered_deed_is_found_once_by_what_was_asked() -> None:
    unanswered = Unanswered()
    for op in ("first", "second"):
        unanswered.keep(SEND, b"hi", op)

    assert unanswered.take(SEND, b"other") == unanswered.take(OFFER, b"hi") == ""
    assert [unanswered.take(SEND, b"hi") for _ in range(3)] == ["first", "second", ""]


def test_what_may_be_meant_anew_each_time_is_never_the_deed_before() -> None:
    unanswered = Unanswered()
    unanswered.keep(PRESENCE, b'{"status":"busy"}', "op")

    assert unanswered.take(PRESENCE, b'{"status":"busy"}') == ""
