"""Enrolment and the fabric's registry, over a real broker under our own keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from loominal.broker import subjects
from loominal.broker.accounts import Accounts
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker, Received
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.fabric.enrolment import CREDENTIAL_SECONDS, Enrol, Enrolled
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.fabric.hub.access.enrolment import Enrolments
from loominal.fabric.hub.access.fabric_records import Invitation, Machine
from loominal.fabric.hub.access.joining import admit, admit_agent
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.invitation import Join
from loominal.fabric.protocol import PROTO, Answer, encode
from loominal.model.errors import (
    BrokerUnavailable,
    Forbidden,
    InvalidArgument,
    LoominalError,
    NotFound,
    UpgradeNeeded,
    error_from,
)
from loominal.model.grant import Grant, Role, own_user_grant
from tests.integration.conftest import eventually
from tests.integration.visitor import is_refused
from tests.patience import SOON
from tests.ports import free_port

OWNER, GUEST = "ada", "bob"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


@dataclass
class Fabric:
    """A broker, the registry and the enrolments on it, and machines that ask."""

    url: str
    keyring: Keyring
    bucket: Bucket
    registry: FabricRegistry
    connect: Callable[[Credential, str], AbstractAsyncContextManager[Broker]]
    machines: dict[str, Broker]
    opened: list[str] = field(default_factory=list)

    async def ask(self, machine: str, asked: msgspec.Struct) -> Enrolled:
        """Return what the fabric answers to a machine's enrolment of an agent; its error is raised."""
        received = await self.machines[machine].request(subjects.enrol(machine), encode(asked), seconds=5)
        answer = msgspec.json.decode(received.data, type=Answer)
        if answer.error is not None:
            raise error_from(answer.error)
        return msgspec.json.decode(answer.ok, type=Enrolled)

    async def another_registry(self, stack: AsyncExitStack) -> FabricRegistry:
        """Return the registry as another weft reads it."""
        registry = FabricRegistry(self.bucket, self.keyring, Accounts(self.machines["laptop"]), OWNER)
        follower = registry.follower()
        running = asyncio.create_task(follower.run())
        stack.callback(running.cancel)
        await follower.caught_up(SOON)
        return registry


@pytest.fixture
async def fabric(tmp_path: Path) -> AsyncIterator[Fabric]:
    """A fabric with the owner's machine `laptop` and a guest's, `desktop`."""
    keyring = Keyring.open(tmp_path / "keys")
    settings = ServerSettings(directory=tmp_path / "broker", port=free_port(), keyring=keyring)

    @asynccontextmanager
    async def connect(credential: Credential, inbox: str) -> AsyncIterator[Broker]:
        async with Broker.connect(
            settings.url,
            name=inbox,
            inbox=subjects.reply_prefix(inbox),
            credential=lambda: credential,
            wait_seconds=SOON,
        ) as broker:
            yield broker

    settings.directory.mkdir()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EmbeddedServer(settings))
        hub = await stack.enter_async_context(connect(keyring.hub_credential(subjects.FABRIC, "weft"), "weft"))
        system = await stack.enter_async_context(connect(keyring.system_credential("weft"), "weft"))
        bucket = Bucket(hub, subjects.registry_bucket(subjects.FABRIC))
        await bucket.ensure()
        registry = FabricRegistry(bucket, keyring, Accounts(system), OWNER)
        follower = registry.follower()
        tasks = [asyncio.create_task(follower.run())]
        await follower.caught_up(SOON)
        machines = {}
        for name, user, role in (("laptop", OWNER, Role.OPERATOR), ("desktop", GUEST, Role.AGENT)):
            await registry.add_machine(Machine(name=name, user=user, role=role, created_at=NOW))
            machines[name] = await stack.enter_async_context(connect(keyring.machine_credential(name), name))
        made = Fabric(settings.url, keyring, bucket, registry, connect, machines)
        tasks.append(asyncio.create_task(Enrolments(hub, registry, keyring, made.opened.append).serve()))
        await eventually(lambda: _answered(made))
        yield made
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _answered(fabric: Fabric) -> bool:
    try:
        await fabric.ask("laptop", enrol(project="-"))
    except InvalidArgument:
        return True
    except LoominalError:
        return False
    return True


def join(key: KeyPair) -> Join:
    return Join(proto=PROTO, key=key.public, hostname="host", user="ada")


def enrol(
    agent: str = "",
    key: KeyPair | None = None,
    project: str = "shop",
    title: str = "Shop",
    proto: int = PROTO,
    role: Role = Role.AGENT,
) -> Enrol:
    """Return an agent's enrolment."""
    public = (key or KeyPair.generate(Kind.USER)).public
    agent = agent or str(uuid4())
    return Enrol(proto=proto, agent=agent, key=public, project=project, title=title, client="python", role=role)


async def test_an_enrolled_agent_can_connect_to_its_project_at_once(fabric: Fabric) -> None:
    key, agent = KeyPair.generate(Kind.USER), str(uuid4())

    enrolled = await fabric.ask("laptop", enrol(agent, key))

    assert enrolled.project == "shop"
    assert enrolled.account == fabric.keyring.project_public("shop")
    assert abs(enrolled.expires_at - datetime.now(UTC) - timedelta(seconds=CREDENTIAL_SECONDS)) < timedelta(minutes=1)
    assert "shop" in fabric.opened
    async with fabric.connect(Credential(jwt=enrolled.jwt, key=key), agent) as connection:
        assert connection.up


async def test_the_standing_of_an_agent_is_its_machines_user_role_and_grants(fabric: Fabric) -> None:
    mine, modest = enrol(role=Role.OPERATOR), enrol()
    guests = enrol(role=Role.OPERATOR)  # more than its machine is
    await fabric.ask("laptop", mine)
    await fabric.ask("laptop", modest)
    granted = Grant(id="g1", user=GUEST, boundaries=("internal",), projects=("shop",))
    elsewhere = Grant(id="g2", user=GUEST, boundaries=("internal",), projects=("other",))
    otherwise = Grant(id="g3", user=GUEST, boundaries=("internal",), machine="phone")
    for grant in (granted, elsewhere, otherwise):
        await fabric.registry.grant(grant)
    await fabric.ask("desktop", guests)

    owner = fabric.registry.standing("shop", mine.agent)
    guest = fabric.registry.standing("shop", guests.agent)

    assert owner is not None
    assert (owner.user, owner.role, owner.grants) == (OWNER, Role.OPERATOR, (own_user_grant(OWNER),))
    assert (fabric.registry.standing("shop", modest.agent) or owner).role is Role.AGENT
    assert guest is not None
    assert (guest.user, guest.role, guest.grants) == (GUEST, Role.AGENT, (granted,))
    assert fabric.registry.standing("other", mine.agent) is None
    assert fabric.registry.standing("shop", str(uuid4())) is None


async def test_enrolling_again_with_the_same_key_gives_another_credential(fabric: Fabric) -> None:
    request = enrol()

    first, again = await asyncio.gather(fabric.ask("laptop", request), fabric.ask("laptop", request))

    assert first.account == again.account
    assert len([key for key in await fabric.bucket.entries("agent") if request.agent in key.key]) == 1


@pytest.mark.parametrize("change", ["key", "project", "user"])
async def test_an_agent_id_stays_with_its_key_project_and_user(fabric: Fabric, change: str) -> None:
    key = KeyPair.generate(Kind.USER)
    first = enrol(key=key)
    await fabric.ask("laptop", first)
    await fabric.registry.grant(Grant(id="g1", user=GUEST))
    another = {
        "key": enrol(first.agent),
        "project": enrol(first.agent, key, project="other"),
        "user": enrol(first.agent, key),
    }[change]

    with pytest.raises(Forbidden):
        await fabric.ask("desktop" if change == "user" else "laptop", another)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (enrol(agent="alice"), InvalidArgument),
        (enrol(agent="*"), InvalidArgument),
        (enrol(agent=str(uuid4()).upper()), InvalidArgument),
        (enrol(project="Shop"), InvalidArgument),
        (enrol(project=subjects.FABRIC), InvalidArgument),
        (enrol(project="*"), InvalidArgument),
        (enrol(key=KeyPair.generate(Kind.ACCOUNT)), InvalidArgument),
        (enrol(proto=PROTO + 1), UpgradeNeeded),
    ],
)
async def test_a_malformed_enrolment_is_refused(fabric: Fabric, asked: Enrol, error: type[LoominalError]) -> None:
    with pytest.raises(error):
        await fabric.ask("laptop", asked)


async def test_a_user_without_a_grant_gets_into_no_project(fabric: Fabric) -> None:
    asked = enrol()
    with pytest.raises(Forbidden, match="no grant lets"):
        await fabric.ask("desktop", asked)
    assert fabric.registry.project("shop") is None
    over = Grant(id="g1", user=GUEST, projects=("shop",), expires_at=NOW)
    await fabric.registry.grant(over)

    with pytest.raises(Forbidden, match="no grant lets"):
        await fabric.ask("desktop", asked)

    await fabric.registry.grant(Grant(id="g2", user=GUEST, projects=("shop",)))
    await fabric.ask("desktop", asked)
    assert fabric.registry.standing("shop", asked.agent) is not None
    await fabric.registry.revoke_grant("g2")
    assert fabric.registry.standing("shop", asked.agent) is None


async def test_a_machine_nobody_added_may_not_enrol(fabric: Fabric) -> None:
    stranger = fabric.keyring.machine_credential("stranger")
    async with fabric.connect(stranger, "stranger") as connection:
        fabric.machines["stranger"] = connection

        with pytest.raises(Forbidden):
            await fabric.ask("stranger", enrol())


async def test_a_reply_subject_that_is_not_the_machines_own_gets_no_answer(fabric: Fabric) -> None:
    async with fabric.connect(fabric.keyring.hub_credential(subjects.FABRIC, "spy"), "spy") as spy:
        heard: list[Received] = []
        victim = f"{subjects.reply_prefix('desktop')}.x"
        await spy.subscribe(victim, heard.append)

        await fabric.machines["laptop"].publish(subjects.enrol("laptop"), encode(enrol()), reply=victim)
        await fabric.ask("laptop", enrol())  # answered after the other, had that been answered

        assert not heard


async def test_a_revoked_agent_is_cut_off_at_once_and_for_good(fabric: Fabric) -> None:
    key, agent = KeyPair.generate(Kind.USER), str(uuid4())
    request = enrol(agent, key)
    enrolled = await fabric.ask("laptop", request)
    async with fabric.connect(Credential(jwt=enrolled.jwt, key=key), agent) as connection:
        await fabric.registry.revoke_agent("shop", agent)

        await eventually(lambda: not connection.up)
        with pytest.raises(BrokerUnavailable):
            await connection.wait_up(1)

    assert fabric.registry.standing("shop", agent) is None
    with pytest.raises(Forbidden):
        await fabric.ask("laptop", request)
    with pytest.raises(NotFound):
        await fabric.registry.revoke_agent("other", agent)


async def test_enrolling_somebody_else_does_not_undo_a_revocation(fabric: Fabric) -> None:
    key, agent = KeyPair.generate(Kind.USER), str(uuid4())
    enrolled = await fabric.ask("laptop", enrol(agent, key))
    await fabric.registry.revoke_agent("shop", agent)

    await fabric.registry.push_account("shop")

    assert await is_kept_out(fabric, enrolled, key)


async def is_kept_out(fabric: Fabric, enrolled: Enrolled, key: KeyPair) -> bool:
    credential = Credential(jwt=enrolled.jwt, key=key)
    inbox = subjects.reply_prefix(credential.name)
    try:
        async with Broker.connect(fabric.url, name="x", inbox=inbox, credential=lambda: credential, wait_seconds=1):
            return False
    except BrokerUnavailable:
        return True


async def test_a_weft_that_has_not_heard_of_a_revocation_yet_does_not_undo_it(fabric: Fabric) -> None:
    key, agent = KeyPair.generate(Kind.USER), str(uuid4())
    enrolled = await fabric.ask("laptop", enrol(agent, key))
    await fabric.registry.revoke_agent("shop", agent)
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(fabric.connect(fabric.keyring.system_credential("other"), "other"))
        other = FabricRegistry(fabric.bucket, fabric.keyring, Accounts(system), OWNER)
        follower = other.follower()

        pushing = asyncio.create_task(other.push_account("shop"))  # it knows of nothing yet
        running = asyncio.create_task(follower.run())
        stack.callback(running.cancel)
        await pushing

    assert await is_kept_out(fabric, enrolled, key)


async def test_who_was_enrolled_by_another_weft_is_known_after_catching_up(fabric: Fabric) -> None:
    async with AsyncExitStack() as stack:
        other = await fabric.another_registry(stack)
        for _ in range(20):
            enrolled = enrol()
            await fabric.ask("laptop", enrolled)
            await other.catch_up()
            assert other.standing("shop", enrolled.agent) is not None


async def test_a_grant_that_was_taken_back_holds_no_more_anywhere(fabric: Fabric) -> None:
    await fabric.registry.grant(Grant(id="g1", user=GUEST, boundaries=("internal",)))
    async with AsyncExitStack() as stack:
        other = await fabric.another_registry(stack)
        assert [grant.id for grant in other.grants("shop")] == [own_user_grant(OWNER).id, "g1"]

        taken = await fabric.registry.revoke_grant("g1")

        assert taken.boundaries == ("internal",)
        await eventually(lambda: len(other.grants("shop")) == 1)
    with pytest.raises(NotFound):
        await fabric.registry.revoke_grant("g1")
    with pytest.raises(Forbidden):
        await fabric.registry.revoke_grant(own_user_grant(OWNER).id)


async def test_a_record_that_cannot_be_read_is_passed_over_and_told(fabric: Fabric) -> None:
    agent = str(uuid4())
    await fabric.bucket.write(f"agent.{agent}", b"{", revision=0)
    await fabric.bucket.write("later.thing", b"{}", revision=0)

    await eventually(lambda: f"agent.{agent}" in fabric.registry.corrupt)

    assert fabric.registry.standing("shop", agent) is None
    with pytest.raises(LoominalError):
        await fabric.ask("laptop", enrol(agent))
    await fabric.ask("laptop", enrol())


async def test_open_mode_trusts_everybody_and_grants_nothing() -> None:
    authority = OpenAuthority()

    standing = authority.standing("shop", str(uuid4()))

    assert standing is not None
    assert standing.role is Role.AGENT
    assert standing.grants[0].every_boundary
    assert authority.standing("shop", "*") is None
    for refused in (
        authority.grant(Grant(id="g", user=OWNER)),
        authority.revoke_grant("g"),
        authority.revoke_agent("p", "a"),
        authority.revoke_invitation("0123456789abcdef"),
    ):
        with pytest.raises(Forbidden):
            await refused


@pytest.mark.parametrize("launch", ["", "l_1"])
async def test_an_invitation_that_was_taken_back_lets_nobody_in_and_its_holder_is_cut_off(
    fabric: Fabric, launch: str
) -> None:
    agent = str(uuid4()) if launch else ""
    secret, key, made = KeyPair.generate(Kind.USER), KeyPair.generate(Kind.USER), datetime.now(UTC)
    invitation = Invitation(
        id="0123456789abcdef", key=secret.public, agent=agent, launch=launch,
        projects=("shop",), by=OWNER, created_at=made, expires_at=made + timedelta(minutes=5),
    )  # fmt: skip
    jwt = await fabric.registry.invite(invitation)
    credential = Credential(jwt=jwt, key=secret)
    async with fabric.connect(credential, invitation.user_name) as holder:
        for _ in range(2):
            await fabric.registry.revoke_invitation(invitation.id)

        await eventually(lambda: not holder.up)
    assert await is_refused(fabric.url, credential)
    for refused in (
        admit_agent(fabric.registry, invitation, enrol(agent, key))
        if launch
        else admit(fabric.registry, fabric.keyring, invitation.id, join(key)),
        fabric.registry.invite(invitation),
        fabric.registry.revoke_invitation("nothing"),
    ):
        with pytest.raises(NotFound):
            await refused


async def test_an_invitation_that_was_used_is_not_taken_back(fabric: Fabric) -> None:
    secret, made = KeyPair.generate(Kind.USER), datetime.now(UTC)
    invitation = Invitation(
        id="0123456789abcdef", key=secret.public, by=OWNER, created_at=made, expires_at=made + timedelta(minutes=5)
    )
    await fabric.registry.invite(invitation)
    asked = join(KeyPair.generate(Kind.USER))
    machine = (await admit(fabric.registry, fabric.keyring, invitation.id, asked)).machine

    with pytest.raises(Forbidden, match=machine):
        await fabric.registry.revoke_invitation(invitation.id)

    assert fabric.registry.revocations(subjects.FABRIC) == {}


async def test_an_invited_agent_is_that_one_in_that_project_with_the_first_key_that_came(fabric: Fabric) -> None:
    agent, secret, key = str(uuid4()), KeyPair.generate(Kind.USER), KeyPair.generate(Kind.USER)
    made = datetime.now(UTC)
    invitation = Invitation(
        id="0123456789abcdef", key=secret.public, agent=agent, launch="l_1", projects=("shop",),
        boundaries=("personal",), by=OWNER, created_at=made, expires_at=made + timedelta(minutes=5),
    )  # fmt: skip
    jwt = await fabric.registry.invite(invitation)
    name = invitation.user_name
    async with fabric.connect(Credential(jwt=jwt, key=secret), name) as connection:
        fabric.machines[name] = connection
        with pytest.raises(Forbidden, match="alone"):
            await fabric.ask(name, enrol(key=key))
        with pytest.raises(InvalidArgument):
            await fabric.ask(name, join(key))
        for _ in range(2):
            await fabric.ask(name, enrol(agent, key, role=Role.OPERATOR))
        with pytest.raises(Forbidden, match="another process"):
            await fabric.ask(name, enrol(agent))
        with pytest.raises(Forbidden, match="no grant"):
            await fabric.ask(name, enrol(agent, key, project="other"))

        standing = fabric.registry.standing("shop", agent)
        assert standing is not None
        assert (standing.role, standing.launch, standing.machine) == (Role.AGENT, "l_1", name)
        assert [(grant.boundaries, grant.every_boundary) for grant in standing.grants] == [(("personal",), False)]

        await fabric.registry.revoke_grant("join_0123456789abcdef")
        with pytest.raises(Forbidden, match="no grant"):  # renewing its credential gives nothing back
            await fabric.ask(name, enrol(agent, key))
        assert fabric.registry.standing("shop", agent) is None

        await fabric.registry.revoke_machine(name)
        assert fabric.registry.is_cut_off(agent)
        with pytest.raises(LoominalError):
            await fabric.ask(name, enrol(agent, key))
