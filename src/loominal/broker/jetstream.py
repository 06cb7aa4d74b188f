"""One request to JetStream, and what its refusals mean as errors of ours. Called by logs and followers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.model.errors import (
    BrokerUnavailable,
    Conflict,
    HubUnavailable,
    Internal,
    LoominalError,
    NotFound,
    QuotaExceeded,
    TooLarge,
)

ONCE_SECONDS = 1.0  # a question in a cluster: who had it may have ceased to lead, and then says nothing
API_SECONDS = 5.0  # a request takes 1-10 ms; a cluster electing a leader takes up to 5 s
NANOSECONDS = 1_000_000_000  # JetStream counts time in them

T = TypeVar("T")


class Refusal(msgspec.Struct, frozen=True):
    """Why JetStream refused: `err_code` is the stable number of the reason, `description` is for people."""

    code: int = 0
    err_code: int = 0
    description: str = ""

    def as_error(self, what: str) -> LoominalError:
        """Return the error of ours that this refusal of `what` is. Source: the server's `errors.json`."""
        text = f"{what}: {self.description} ({self.err_code})"
        match self.err_code:
            case 10071 | 10164:  # wrong last sequence
                return Conflict(text)
            case 10014 | 10037 | 10059:  # no such consumer, message, stream
                return NotFound(text)
            case 10023 | 10028 | 10047 | 10077:  # resources, memory, storage, the store's own word (full, disk full)
                return QuotaExceeded(text)
            case 10054:
                return TooLarge(text)
            case 10004 | 10005 | 10008 | 10009 | 10039 | 10076:  # servers missing, no leader, not enabled
                return BrokerUnavailable(text)
            case _:
                return Internal(text)


class _Envelope(msgspec.Struct, frozen=True):
    error: Refusal | None = None


async def ask(
    broker: Broker,
    subject: str,
    data: bytes,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = API_SECONDS,
) -> Received:
    """Return the broker's answer. Raises: BrokerUnavailable, also if nobody listens: JetStream is off or starting."""
    try:
        return await broker.request(subject, data, seconds=seconds, headers=headers)
    except HubUnavailable as error:
        raise BrokerUnavailable(f"JetStream does not listen on {subject}") from error


async def call(broker: Broker, answer: type[T], *tokens: str, body: Mapping[str, object] | None = None) -> T:
    """Return the answer of JetStream's API at `tokens` to `body`.

    Raises: BrokerUnavailable, or the error that the refusal means, e.g. NotFound.
    """
    received = await ask_api(broker, *tokens, body=body)
    return understood(received.data, answer, " ".join(tokens))


async def ask_api(broker: Broker, *tokens: str, body: Mapping[str, object] | None = None) -> Received:
    """Return what JetStream's API at `tokens` answers to `body`, be it a refusal. Raises: BrokerUnavailable.

    In a cluster it is asked every second, of whoever leads by then; asking twice does what asking once does.
    """
    subject, data = subjects.api(*tokens), msgspec.json.encode(body) if body is not None else b""
    until = time.monotonic() + API_SECONDS
    while (left := until - time.monotonic()) > ONCE_SECONDS and broker.clustered:
        asked_at = time.monotonic()
        try:
            return await ask(broker, subject, data, seconds=ONCE_SECONDS)
        except BrokerUnavailable:
            if time.monotonic() - asked_at < ONCE_SECONDS:  # it was not for want of an answer
                raise
    return await ask(broker, subject, data, seconds=left)


def understood(data: bytes, answer: type[T], what: str) -> T:
    """Return the answer in `data`. Raises: what the refusal in it means; Internal if it cannot be read."""
    try:
        if (refusal := msgspec.json.decode(data, type=_Envelope).error) is None:
            return msgspec.json.decode(data, type=answer)
    except msgspec.DecodeError as error:
        raise Internal(f"{what}: the broker's answer cannot be read: {error}") from error
    raise refusal.as_error(what)


def refusal(data: bytes) -> int:
    """Return the number of the refusal in an answer; 0 if there is none."""
    try:
        refused = msgspec.json.decode(data, type=_Envelope).error
    except msgspec.DecodeError:
        return 0  # `understood` says what is wrong
    return refused.err_code if refused else 0


def parse_headers(raw: bytes) -> dict[str, str]:
    """Return the headers in a stored header block (`NATS/1.0`, then one `name: value` a line)."""
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    return {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def instant(text: str) -> datetime:
    """Return the broker's time in `text` (RFC 3339, nanoseconds are cut off), aware UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def instant_of(nanoseconds: int) -> datetime:
    """Return the broker's time that is so long after 1970, equal to `instant` of the same time."""
    whole, rest = divmod(nanoseconds, NANOSECONDS)
    return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)
