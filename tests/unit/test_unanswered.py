"""A send or an offer whose answer never came is the same deed when it is asked for again."""

from __future__ import annotations

from loominal.fabric.client.unanswered import Unanswered
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.channels import SendMessage
from loominal.fabric.operations.registry import UpdatePresence
from loominal.fabric.protocol import arguments
from loominal.model.agent import AgentStatus

SEND, DIRECT, PRESENCE = (OPERATIONS[name] for name in ("send_message", "send_direct_message", "update_presence"))


def test_each_unanswered_deed_is_found_once_by_what_was_asked() -> None:
    unanswered = Unanswered()
    hi, other = (SendMessage(channel="general", message=text) for text in ("hi", "other"))
    spelled_out = arguments(SendMessage, b'{"channel": "general", "message": "hi", "importance": "normal"}')
    for op in ("first", "second"):
        unanswered.keep(SEND, hi, op)

    assert unanswered.take(SEND, other) == unanswered.take(DIRECT, hi) == ""
    assert [unanswered.take(SEND, each) for each in (hi, spelled_out, hi)] == ["first", "second", ""]


def test_a_deed_that_its_caller_has_named_and_asked_for_again_is_over_once_it_is_answered() -> None:
    unanswered = Unanswered()
    hi = SendMessage(channel="general", message="hi")
    for op in ("named", "other", "named"):
        unanswered.keep(SEND, hi, op)

    unanswered.forget("named")

    assert [unanswered.take(SEND, hi) for _ in range(2)] == ["other", ""]


def test_what_may_be_meant_anew_each_time_is_never_the_deed_before() -> None:
    unanswered = Unanswered()
    busy = UpdatePresence(status=AgentStatus.BUSY)
    unanswered.keep(PRESENCE, busy, "op")

    assert unanswered.take(PRESENCE, busy) == ""
