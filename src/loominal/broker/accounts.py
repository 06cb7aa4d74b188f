"""What the broker says of accounts: pushing them to it, hearing of their connections, how full the store is.

The hub calls it, mostly with the system credential (`Keyring.system_credential`). The names of the fields are
nats-server's.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from loominal.broker import subjects
from loominal.broker.claims import name_in, user_claims
from loominal.broker.connection import Broker
from loominal.broker.jetstream import call
from loominal.broker.nkeys import Kind, is_public_key
from loominal.model.errors import BrokerUnavailable, Forbidden, InvalidArgument

PUSH_SECONDS = 5.0  # a broker takes 5 ms; a cluster may be electing
ACCEPTED = 200
CONNECTIONS_PAGE = 1000
LIST_SECONDS = 1.0  # the servers of a cluster answer within milliseconds; how many there are nobody tells
CLOSED_BY_CLIENT = frozenset({"Client Closed", "Read Error", "Write Error"})  # a killed process: a FIN, or a reset


class Answer(Protocol):
    """What a request brought back."""

    @property
    def data(self) -> bytes:
        """The body."""


class Asker(Protocol):
    """The part of a connection that is needed here."""

    async def request(self, subject: str, data: bytes, *, seconds: float) -> Answer:
        """Return the first answer. Raises: BrokerUnavailable, HubUnavailable if nobody listens."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A client that connected or is gone, as the broker authenticated it: `name` is the one in its JWT.

    `cid` is unique while the `server` of that id runs; `reason` is empty for a client that connected.
    """

    account: str
    name: str
    user_public: str
    cid: int
    server: str
    reason: str

    @property
    def closed_by_client(self) -> bool:
        """Whether the client's side ended it, as when its process ends; the broker did not just hear nothing."""
        return self.reason in CLOSED_BY_CLIENT


class StoreUse(msgspec.Struct, frozen=True, kw_only=True):
    """How full the file store of a server is; `reserved_bytes` is the sum of its streams' own limits."""

    stored_bytes: int
    limit_bytes: int
    reserved_bytes: int


class Accounts:
    """The accounts that the broker knows."""

    def __init__(self, broker: Asker) -> None:
        self._broker = broker

    async def push(self, account_jwt: str) -> None:
        """Make the broker take a new or changed account; users whom it revokes are cut off at once.

        An account that another operator signed is taken too, but nobody gets in by it.
        Raises: Forbidden if the broker refuses it, BrokerUnavailable if it does not answer or not clearly.
        """
        answer = await self._broker.request(subjects.claims_update(), account_jwt.encode(), seconds=PUSH_SECONDS)
        outcome = _read(answer.data, _Outcome)
        if outcome.error:
            raise Forbidden(f"the broker refuses the account: {outcome.error.description}")
        if outcome.data is None or outcome.data.code != ACCEPTED:
            raise BrokerUnavailable("the broker did not say that it took the account")

    async def name_of(self, account_public: str) -> str:
        """Return the name in the JWT that the broker has of the account, "" if it has none that can be read.

        Nobody has checked who signed it. Raises: BrokerUnavailable, HubUnavailable.
        """
        answer = await self._broker.request(subjects.claims_lookup(account_public), b"", seconds=PUSH_SECONDS)
        return name_in(answer.data.decode("ascii", "replace"))


def connection_gone(event: bytes) -> Connection | None:
    """Return who connected or is gone, from the body of such an event; None if it names no authenticated user.

    A refused client is told as gone too, from account `$G` and with the JWT that it showed, whoever's that is. The
    client's own `name` and the event's `name_tag` (the account's) say nothing about who it is.
    """
    try:
        told = _read(event, _Event)
    except BrokerUnavailable:
        return None
    who = told.client
    client = _Open(cid=who.id, account=who.acc, authorized_user=who.user, jwt=who.jwt)
    return _connection(client, told.server, told.reason)


async def list_connections(broker: Broker) -> list[Connection]:
    """Return every open connection of an authenticated user, on all servers that answer.

    Raises: BrokerUnavailable, HubUnavailable if nobody listens.
    """
    found: list[Connection] = []
    offset, more = 0, True
    while more:
        question = msgspec.json.encode({"auth": True, "limit": CONNECTIONS_PAGE, "offset": offset})
        if broker.clustered:
            answers = await broker.survey(subjects.connections(), question, seconds=LIST_SECONDS)
        else:
            answers = [await broker.request(subjects.connections(), question, seconds=PUSH_SECONDS)]
        lists = [_read(answer.data, _Listing) for answer in answers]
        told = (_connection(open_, each.server) for each in lists for open_ in each.data.connections)
        found += [connection for connection in told if connection is not None]
        offset += CONNECTIONS_PAGE
        more = any(each.data.total > offset for each in lists)
    return found


def _connection(client: _Open, server: _Server, reason: str = "") -> Connection | None:
    """Return a connection as its JWT names it; None if it is not authenticated by one."""
    try:
        claims = user_claims(client.jwt)
    except InvalidArgument:
        return None
    if claims.sub != client.authorized_user or not is_public_key(client.account, Kind.ACCOUNT):
        return None
    return Connection(
        account=client.account,
        name=claims.name,
        user_public=claims.sub,
        cid=client.cid,
        server=server.id,
        reason=reason,
    )


def server_use(answer: bytes) -> StoreUse:
    """Return how full a server is, from its answer to `subjects.store_use()`. Raises: BrokerUnavailable."""
    told = _read(answer, _Use).data
    return StoreUse(
        stored_bytes=told.storage, limit_bytes=told.config.max_storage, reserved_bytes=told.reserved_storage
    )


async def account_use(broker: Broker) -> StoreUse:
    """Return how full the file store of the connection's own account is; its limit is -1 if it has none.

    Raises: BrokerUnavailable.
    """
    told = await call(broker, _AccountUse, "INFO")
    limit_bytes = told.limits.max_storage
    return StoreUse(stored_bytes=told.storage, limit_bytes=limit_bytes, reserved_bytes=told.reserved_storage)


class _Limits(msgspec.Struct, frozen=True):
    """The limits of an account."""

    max_storage: int = -1


class _AccountUse(msgspec.Struct, frozen=True):
    """The answer with an account's use of JetStream."""

    limits: _Limits
    storage: int = 0
    reserved_storage: int = 0


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an answer that says an account was taken."""

    code: int


class _Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an answer that says why an account was not taken."""

    description: str = "no reason given"


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a pushed account."""

    data: _Taken | None = None
    error: _Refused | None = None


class _Client(msgspec.Struct, frozen=True, kw_only=True):
    """The client of an event."""

    acc: str
    user: str
    id: int
    jwt: str


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    """The server that tells of an event."""

    id: str = ""


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """`io.nats.server.advisory.v1.client_connect` and `…client_disconnect`."""

    client: _Client
    server: _Server = _Server()
    reason: str = ""


class _Open(msgspec.Struct, frozen=True, kw_only=True):
    """A connection in a list; one that was not authenticated by a JWT has none."""

    cid: int
    account: str = ""
    authorized_user: str = ""
    jwt: str = ""


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a server's connections."""

    total: int
    connections: list[_Open] = []


class _Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The answer with a server's connections."""

    data: _Page
    server: _Server = _Server()


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    """The limits in a server's statistics."""

    max_storage: int


class _Stats(msgspec.Struct, frozen=True, kw_only=True):
    """A server's statistics of JetStream."""

    config: _Config
    storage: int = 0
    reserved_storage: int = 0


class _Use(msgspec.Struct, frozen=True, kw_only=True):
    """The answer with a server's statistics."""

    data: _Stats


_Told = TypeVar("_Told", _Outcome, _Event, _Listing, _Use)


def _read(body: bytes, kind: type[_Told]) -> _Told:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise BrokerUnavailable(f"the broker's answer cannot be read: {error}") from error
