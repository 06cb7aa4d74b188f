"""The token of an invitation: one word that survives a terminal, and nothing that goes without TLS."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.invitation import Token
from loominal.model.errors import InvalidArgument, UpgradeNeeded

TOKEN = Token(
    urls=("tls://192.168.1.5:4222", "tls://[fd00::2]:4222"),
    ca="-----BEGIN CERTIFICATE-----\n…",
    jwt="a.b.c",
    seed="SU-secret",
    expires_at=datetime(2026, 1, 31, tzinfo=UTC),
)


def packed(raw: bytes) -> str:
    return "loominal-" + base64.urlsafe_b64encode(zlib.compress(raw)).decode()


def test_a_token_comes_back_also_when_a_terminal_has_wrapped_it() -> None:
    text = TOKEN.to_text()

    assert len(text.split()) == 1
    assert Token.from_text(text) == TOKEN
    assert Token.from_text(f"  {text[:40]}\n{text[40:]}\r\n") == TOKEN


def test_its_secret_is_in_no_traceback() -> None:
    assert "secret" not in repr(TOKEN)


@given(st.integers(0, len(TOKEN.to_text()) - 1))
def test_a_token_that_was_cut_is_refused_with_what_to_do(length: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Token.from_text(TOKEN.to_text()[:length])
    assert "copy" in refused.value.hint


@given(st.text() | st.binary().map(packed))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Token.from_text(text)


def test_a_token_that_grows_without_end_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        Token.from_text(packed(b'{"v": 1, "ca": "' + b" " * 10_000_000))


def test_a_token_without_tls_is_refused() -> None:
    plain = msgspec.structs.replace(TOKEN, urls=("nats://192.168.1.5:4222",))

    with pytest.raises(InvalidArgument, match="TLS"):
        Token.from_text(plain.to_text())


def test_a_token_of_a_later_version_says_what_to_upgrade() -> None:
    with pytest.raises(UpgradeNeeded):
        Token.from_text(packed(b'{"v": 2}'))


def test_an_agents_enrolment_may_go_without_tls_where_its_fabric_does() -> None:
    plain = msgspec.structs.replace(TOKEN, ca="", urls=("nats://127.0.0.1:4222",), agent="a", project="shop")

    assert Token.enrolment(plain.to_text()) == plain
    with pytest.raises(InvalidArgument, match="no address"):
        Token.enrolment(msgspec.structs.replace(plain, ca=TOKEN.ca).to_text())


def test_an_invitation_and_an_enrolment_are_not_taken_for_each_other() -> None:
    agents = msgspec.structs.replace(TOKEN, agent="a", project="shop")

    with pytest.raises(InvalidArgument, match="launched agent"):
        Token.from_text(agents.to_text())
    with pytest.raises(InvalidArgument, match="for a machine"):
        Token.enrolment(TOKEN.to_text())
