"""What the broker lets each credential do. The client is nats-py itself: nothing of ours stands between."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from loominal.broker import claims, subjects
from loominal.broker.accounts import Accounts, connection_gone
from loominal.broker.claims import USER_LIMITS, user_jwt
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.model.errors import Forbidden
from tests.integration.visitor import Visitor, is_refused, visit
from tests.patience import SOON
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

ALICE, BOB = "alice-1", "bob-1"
LETS_IN_SECONDS = 8.0  # of a credential that is to end: long enough to come in with it


class Line:
    """A nats-py connection as `Accounts` wants one."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def request(self, subject: str, data: bytes, *, seconds: float) -> Msg:
        """Return the first answer."""
        return await self.client.request(subject, data, timeout=seconds)


def a_server(directory: Path, ring: Keyring) -> EmbeddedServer:
    return EmbeddedServer(ServerSettings(directory=directory / "broker", port=free_port(), keyring=ring))


def an_agent(ring: Keyring, project: str, agent: str, seconds: float = 3600, key: KeyPair | None = None) -> Credential:
    key = key or KeyPair.generate(Kind.USER)
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    return Credential(jwt=ring.agent_jwt(project, agent, key.public, ends), key=key)


async def until_issued_after(instant: int, ring: Keyring, key: KeyPair) -> Credential:
    """Return a credential of Alice issued after `instant`; the instant of a JWT is a whole second."""
    await asyncio.sleep(max(instant + 1 - time.time(), 0))
    return an_agent(ring, "p1", ALICE, key=key)


async def names_of_streams(client: Client) -> list[str]:
    answer = json.loads((await client.request("$JS.API.STREAM.NAMES", b"", timeout=SOON)).data)
    return list(answer["streams"] or [])


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path / "keys")


@pytest.fixture
async def server(tmp_path: Path, ring: Keyring) -> AsyncIterator[EmbeddedServer]:
    async with a_server(tmp_path, ring) as server:
        yield server


@pytest.fixture
async def system(server: EmbeddedServer, ring: Keyring) -> AsyncIterator[Visitor]:
    async with visit(server.url, ring.system_credential("weft-1")) as visitor:
        yield visitor


@pytest.fixture
async def accounts(system: Visitor, ring: Keyring) -> Accounts:
    accounts = Accounts(Line(system.client))
    for project in ("p1", "p2"):
        await accounts.push(ring.account_jwt(project))
    return accounts


async def test_a_project_is_added_without_a_restart_and_survives_one(tmp_path: Path, ring: Keyring) -> None:
    server = a_server(tmp_path, ring)
    async with server, visit(server.url, ring.system_credential("weft-1")) as system:
        assert await is_refused(server.url, ring.hub_credential("p1", "weft-1"))

        await Accounts(Line(system.client)).push(ring.account_jwt("p1"))

        assert not await is_refused(server.url, ring.hub_credential("p1", "weft-1"))

    async with a_server(tmp_path, Keyring.open(tmp_path / "keys")) as again:
        assert not await is_refused(again.url, ring.hub_credential("p1", "weft-1"))


async def test_a_hub_has_its_project_and_sees_nothing_of_another(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts
) -> None:
    async with (
        visit(server.url, ring.hub_credential("p1", "weft-1")) as first,
        visit(server.url, ring.hub_credential("p2", "weft-1")) as second,
    ):
        await first.client.jetstream().add_stream(name="WK_p1", subjects=["l.p1.wk.*"])
        heard = await second.client.subscribe(">")
        await second.client.flush()
        await first.client.jetstream().publish("l.p1.wk.w_1", b"secret")
        await first.client.publish("rq.p2.claim.alice-1", b"forged")
        await first.client.flush()
        await second.client.publish("mark", b"")

        assert await names_of_streams(first.client) == ["WK_p1"]
        assert await names_of_streams(second.client) == []
        assert (await heard.next_msg(SOON)).subject == "mark"


async def test_an_agent_may_use_its_own_subjects_and_nothing_else(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts
) -> None:
    publish = [f"rq.p1.claim.{ALICE}", f"rq.p1.send.{ALICE}", f"hb.p1.{ALICE}"]
    subscribe = [
        f"_IB.{ALICE}.>",
        f"ev.p1.in.{ALICE}",
        "ev.p1.ch.*",
        "ev.p1.ch.general",
        "ev.p1.lead",
        f"ctl.p1.{ALICE}",
    ]
    foreign_publish = [
        *(f"rq.p1.claim.{BOB}", f"hb.p1.{BOB}", f"rq.p2.claim.{ALICE}", f"rq.enrol.{ALICE}", f"rq.p1.a.b.{ALICE}"),
        *("l.p1.ch.general", f"l.p1.in.{BOB}", "l.p1.wk.w_1", "l.p1.wk-lead", "$KV.REG_p1.agent.x", f"_IB.{BOB}.x"),
        *(f"ctl.p1.{BOB}", "ev.p1.lead", f"ev.p1.in.{BOB}", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING.JSZ"),
        *("$JS.API.STREAM.NAMES", "$JS.API.DIRECT.GET.IN_p1", "$JS.API.STREAM.DELETE.WK_p1", "$JS.ACK.WK_p1.c.1.1.1"),
    ]
    foreign_subscribe = [
        *(">", "*.>", f"_IB.{BOB}.>", "_IB.>", "_IB.*.>", "_INBOX.>", f"ev.p1.in.{BOB}", "ev.p1.in.*", "ev.p1.>"),
        *(f"ctl.p1.{BOB}", "ctl.p1.*", f"rq.p1.claim.{ALICE}", "hb.p1.*", "l.p1.>", "$JS.EVENT.>", "$SYS.>", "$KV.>"),
    ]
    async with visit(server.url, an_agent(ring, "p1", ALICE)) as alice:
        assert await alice.denied(publish, subscribe) == []
        assert await alice.denied(foreign_publish, foreign_subscribe) == foreign_publish + foreign_subscribe


async def test_a_machine_may_enrol_and_nothing_else(server: EmbeddedServer, ring: Keyring) -> None:
    foreign_publish = ["rq.enrol.other", f"rq.p1.claim.{ALICE}", "rq.enrol", "$JS.API.STREAM.NAMES", "_IB.other.x"]
    foreign_subscribe = [">", "rq.enrol.*", "rq.enrol.laptop", "_IB.other.>", "_IB.>", "_INBOX.>", "ev.>", "$SYS.>"]
    async with visit(server.url, ring.machine_credential("laptop")) as laptop:
        assert await laptop.denied(["rq.enrol.laptop"], ["_IB.laptop.>"]) == []
        assert await laptop.denied(foreign_publish, foreign_subscribe) == foreign_publish + foreign_subscribe


async def test_an_expired_jwt_is_refused_and_a_living_connection_ends_with_its_jwt(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts
) -> None:
    assert await is_refused(server.url, an_agent(ring, "p1", ALICE, seconds=-5))

    async with visit(server.url, an_agent(ring, "p1", ALICE, seconds=LETS_IN_SECONDS)) as alice:
        await asyncio.wait_for(alice.gone.wait(), SOON)


async def test_a_jwt_that_the_project_did_not_sign_is_refused(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts, tmp_path: Path
) -> None:
    user = KeyPair.generate(Kind.USER)
    p1, p2 = ring.project_public("p1"), ring.project_public("p2")
    stranger = Keyring.open(tmp_path / "other-keys")
    signed = an_agent(ring, "p1", ALICE, key=user).jwt
    altered = ".".join(
        [signed.split(".")[0], an_agent(ring, "p1", BOB, key=user).jwt.split(".")[1], signed.split(".")[2]]
    )
    forged = [
        user_jwt(KeyPair.generate(Kind.ACCOUNT), p1, user.public, ALICE),  # signed by a key of one's own
        user_jwt(user, p1, user.public, ALICE),  # signed by the user
        user_jwt(ring._account("p2").member, p1, user.public, ALICE),  # signed by another project
        user_jwt(ring._account("p2").hub, p1, user.public, ALICE),
        stranger.agent_jwt("p1", ALICE, user.public, datetime(2099, 1, 1, tzinfo=UTC)),
        altered,
    ]

    assert [await is_refused(server.url, Credential(jwt=jwt, key=user)) for jwt in forged] == [True] * len(forged)
    assert p1 != p2


async def test_a_scoped_key_gives_no_more_than_its_scope_even_if_the_jwt_asks_for_more(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts
) -> None:
    user = KeyPair.generate(Kind.USER)
    member = ring._account("p1").member
    everything = {"pub": {"allow": [">"]}, "sub": {"allow": [">"]}, **USER_LIMITS, "type": "user"}
    greedy = [
        claims._signed(member, user.public, ALICE, {**everything, "issuer_account": ring.project_public("p1")}),
        claims._signed(member, user.public, ALICE, everything),  # the scoped key as if it were an account
    ]

    assert [await is_refused(server.url, Credential(jwt=jwt, key=user)) for jwt in greedy] == [True, True]


async def test_a_stolen_jwt_without_its_key_is_refused_and_its_owner_does_not_seem_gone(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts, system: Visitor
) -> None:
    alice, thief = an_agent(ring, "p1", ALICE), an_agent(ring, "p1", BOB)
    events = await system.client.subscribe(subjects.system_disconnects())
    await system.client.flush()

    visitor = Visitor()
    with pytest.raises(nats.errors.Error):
        await visitor.client.connect(
            server.url,
            user_jwt_cb=lambda: bytearray(alice.jwt.encode()),
            signature_cb=lambda nonce: base64.b64encode(thief.key.sign(nonce.encode())),
            allow_reconnect=False,
        )
    await visitor.client.close()

    async with visit(server.url, thief):
        pass
    told = [connection_gone((await events.next_msg(SOON)).data) for _ in range(2)]
    assert [who and who.name for who in told] == [None, BOB]


async def test_revoking_a_user_cuts_its_connection_and_keeps_it_out_over_a_restart(
    tmp_path: Path, ring: Keyring
) -> None:
    server = a_server(tmp_path, ring)
    key = KeyPair.generate(Kind.USER)
    async with server, visit(server.url, ring.system_credential("weft-1")) as system:
        accounts = Accounts(Line(system.client))
        await accounts.push(ring.account_jwt("p1"))
        alice, bob = an_agent(ring, "p1", ALICE, key=key), an_agent(ring, "p1", BOB)
        async with visit(server.url, alice) as there, visit(server.url, bob) as untouched:
            until = int(time.time())

            await accounts.push(ring.account_jwt("p1", {key.public: until}))

            await asyncio.wait_for(there.gone.wait(), SOON)
            assert await is_refused(server.url, alice)
            await untouched.client.flush()
            assert not untouched.gone.is_set()

    async with a_server(tmp_path, ring) as again:
        assert await is_refused(again.url, alice)
        assert not await is_refused(again.url, bob)
        later = await until_issued_after(until, ring, key)
        assert not await is_refused(again.url, later)


async def test_a_revoked_machine_stays_out_over_a_restart(tmp_path: Path, ring: Keyring) -> None:
    machine = ring.machine_credential("laptop")
    server = a_server(tmp_path, ring)
    async with server, visit(server.url, ring.system_credential("weft-1")) as system:
        revoked = ring.account_jwt(subjects.FABRIC, {machine.key.public: int(time.time())})
        async with visit(server.url, machine) as laptop:
            await Accounts(Line(system.client)).push(revoked)
            await asyncio.wait_for(laptop.gone.wait(), SOON)

    async with a_server(tmp_path, Keyring.open(tmp_path / "keys")) as again:
        assert await is_refused(again.url, machine)
        assert not await is_refused(again.url, ring.machine_credential("desktop"))


async def test_an_account_of_another_keyring_lets_nobody_in(
    server: EmbeddedServer, accounts: Accounts, tmp_path: Path
) -> None:
    stranger = Keyring.open(tmp_path / "other-keys")

    await accounts.push(stranger.account_jwt("p1"))  # the broker takes it and never uses it

    assert await is_refused(server.url, stranger.hub_credential("p1", "weft-1"))


async def test_an_account_that_cannot_be_read_is_refused(accounts: Accounts, ring: Keyring) -> None:
    for malformed in ("eyJ.not.one", ring.account_jwt("p1")[:-9]):
        with pytest.raises(Forbidden, match="refuses the account"):
            await accounts.push(malformed)


async def test_connections_are_told_with_the_name_that_was_authenticated(
    server: EmbeddedServer, ring: Keyring, accounts: Accounts, system: Visitor
) -> None:
    alice = an_agent(ring, "p1", ALICE)
    p1 = ring.project_public("p1")
    connects = await system.client.subscribe(subjects.system_connects(p1))
    disconnects = await system.client.subscribe(subjects.system_disconnects())
    await system.client.flush()

    async with visit(server.url, alice, name=BOB):
        came = connection_gone((await connects.next_msg(SOON)).data)
    went = connection_gone((await disconnects.next_msg(SOON)).data)

    assert came is not None
    assert went is not None
    assert (came.account, came.name, came.user_public, came.reason) == (p1, ALICE, alice.key.public, "")
    assert (went.account, went.name, went.cid, went.reason) == (p1, ALICE, came.cid, "Client Closed")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"client":{"acc":"A","user":"u","id":1}}', b"\xff"])
def test_an_event_that_names_no_user_is_passed_over(body: bytes) -> None:
    assert connection_gone(body) is None
