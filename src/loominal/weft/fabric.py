"""The fabric as weft serves it: which projects are loaded, who comes and goes, and what keeps it from being ready.

One class for each way of being connected: under our operator keys, or on somebody else's broker in open mode.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from loominal.broker import subjects
from loominal.broker.accounts import Accounts, account_use, server_use
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker, Received
from loominal.broker.credentials import Credential
from loominal.broker.follower import Follower
from loominal.broker.keyring import Keyring
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.fabric.hub.access.enrolment import Enrolments
from loominal.fabric.hub.access.fabric_records import Machine
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.lead.membership import Membership
from loominal.fabric.hub.streams import FORMAT
from loominal.fabric.hub.timings import Timings
from loominal.fabric.protocol import PROTO, Answer, encode
from loominal.model.errors import BrokerUnavailable, HubUnavailable, LoominalError
from loominal.model.grant import Role
from loominal.model.names import PROJECT_NAME, SUBJECT_TOKEN
from loominal.weft.cluster import LOOK_SECONDS, SPREAD_SECONDS, Quorum, spread
from loominal.weft.connections import HUB_NAME, Connections
from loominal.weft.duties import every
from loominal.weft.living import Living
from loominal.weft.projects import Projects
from loominal.weft.store import MEASURE_SECONDS, StoreWatch, use_of

ANSWER_SECONDS = 3.0
SURVEY_SECONDS = 1.0  # for all servers of a cluster; those that are down never answer
READ_SECONDS = 60.0  # the fabric's registry is small; a broker that needs longer to send it is in trouble
REVIEW_SECONDS = 5.0  # between two looks at what is needed no longer, and at what is due
RETRY_SECONDS = 0.3  # between two tries to open the registry while the broker is not there

log = logging.getLogger(__name__)


class Fabric(Protocol):
    """What the HTTP interface asks of either."""

    def reasons(self) -> list[str]:
        """Return what keeps the fabric from serving everybody, one line each; nothing if it serves."""

    def titles(self) -> dict[str, str]:
        """Return how lists show each known project, by id."""

    def activity(self) -> tuple[int, int] | None:
        """Return how many agents are online and how many items are open; None while that is not known."""

    def leaders(self) -> dict[str, str]:
        """Return the weft that leads each project loaded here, "" where nobody does."""

    def wefts(self) -> list[str]:
        """Return the wefts that are alive and stay."""


class OperatorFabric:
    """A broker under our own keys: an account per project, a registry and enrolment in the fabric's own."""

    def __init__(
        self,
        url: str,
        keyring: Keyring,
        machine: Credential | None,
        owner: str,
        timings: Timings,
        here: Living,
        store: Path,
        tls: ssl.SSLContext | None = None,
        restart: Callable[[], bool] = lambda: False,  # the broker; returns whether somebody will
    ) -> None:
        self._url = url
        self._keyring = keyring
        self._machine = machine
        self._owner = owner
        self._timings = timings
        self._here = here
        self._store = store  # the broker's directory, if it is on this machine
        self._tls = tls
        self._restart = restart
        self.failures: Counter[str] = Counter()  # of duties, by name
        self._broker: Broker | None = None
        self._registry: FabricRegistry | None = None
        self._projects: Projects | None = None  # None until the registry is read
        self._quorum: Quorum | None = None
        self._members: Membership | None = None

    def reasons(self) -> list[str]:
        """Return what keeps the fabric from serving everybody, one line each; nothing if it serves."""
        if self._broker is None or not self._broker.up:
            why = self._broker.last_error if self._broker else "not connected yet"
            return [f"broker: {self._url} does not answer ({why or 'connecting'})"]
        if self._projects is None or self._members is None:
            return ["registry: it is not read yet"]
        if self._quorum is not None and self._quorum.trouble:
            return [f"broker: {self._quorum.trouble}"]
        return _reasons(self._members, self._projects)

    def leaders(self) -> dict[str, str]:
        """Return the weft that leads each project loaded here, "" where nobody does."""
        return self._projects.leaders() if self._projects else {}

    def wefts(self) -> list[str]:
        """Return the wefts that are alive and stay."""
        return self._members.weft_ids if self._members else []

    async def leave(self, seconds: float) -> None:
        """Hand every project on, for at most `seconds`."""
        await _leave(self._members, self._projects, seconds)

    def titles(self) -> dict[str, str]:
        """Return how lists show each known project, by id."""
        return {project.id: project.title for project in self._registry.projects()} if self._registry else {}

    def activity(self) -> tuple[int, int] | None:
        """Return how many agents are online and how many items are open; None while that is not known."""
        return self._projects.activity() if self._projects else None

    async def serve(self) -> None:
        """Serve until cancelled."""
        system_credential = self._keyring.system_credential(HUB_NAME)
        async with (
            self._connect(subjects.FABRIC) as broker,
            Broker.connect(
                self._url,
                name="weft system",
                inbox=subjects.reply_prefix(HUB_NAME),
                credential=lambda: system_credential,
                tls=self._tls,
                wait_seconds=0,
            ) as system,
            asyncio.TaskGroup() as group,
        ):
            self._broker = broker
            members = self._members = Membership(broker, self._here.weft, FORMAT, self._here.has_ended)
            group.create_task(members.run(), name="membership")
            bucket = Bucket(broker, subjects.registry_bucket(subjects.FABRIC))
            accounts = Accounts(system)
            registry = FabricRegistry(bucket, self._keyring, accounts, self._owner)
            lost = asyncio.Event()  # another broker is there, or its store is another one
            follower = registry.follower(lost.set)
            group.create_task(follower.run(), name="registry")
            with contextlib.suppress(BrokerUnavailable):
                await broker.wait_up(READ_SECONDS)  # a try that fails is followed by a pause
            await self._open(bucket, registry, follower)
            self._registry = registry
            group.create_task(self._reopen(bucket, registry, follower, lost), name="registry anew")
            group.create_task(self._keep_accounts(system, accounts, registry), name="accounts")
            await members.joined()
            projects = Projects(self._connect, self._title, registry, self._timings, members, group)
            await members.heed(projects.load)
            self._projects = projects
            connections = Connections(system, accounts, registry, self._keyring, projects)
            group.create_task(connections.follow(), name="connections")
            group.create_task(_look_through(projects, self._timings, registry), name="what is needed")
            watch = StoreWatch(projects.fullness, lambda: [*projects.logs(), bucket.log], self._restart)
            measure = functools.partial(self._measure, system, watch)
            group.create_task(every(MEASURE_SECONDS, measure, "fullness", self.failures), name="fullness")
            quorum = self._quorum = Quorum(bucket.log)
            group.create_task(every(LOOK_SECONDS, quorum.look, "quorum", self.failures), name="quorum")
            copies = functools.partial(spread, lambda: [*projects.logs(), bucket.log])
            group.create_task(every(SPREAD_SECONDS, copies, "copies", self.failures), name="copies")
            await Enrolments(broker, registry, self._keyring, projects.need).serve()

    async def _measure(self, system: Broker, watch: StoreWatch) -> None:
        """Let `watch` know how full the broker's store is. Raises: BrokerUnavailable, HubUnavailable."""
        try:
            if system.clustered:
                answers = await system.survey(subjects.store_use(), b"", seconds=SURVEY_SECONDS)
            else:
                answers = [await system.request(subjects.store_use(), b"", seconds=ANSWER_SECONDS)]
        except LoominalError:
            watch.unmeasured()
            raise
        watch.measured(max(use_of(server_use(answer.data), self._store) for answer in answers))

    async def _reopen(self, bucket: Bucket, registry: FabricRegistry, follower: Follower, lost: asyncio.Event) -> None:
        """Open the registry again whenever it was lost, until cancelled."""
        while True:
            await lost.wait()
            lost.clear()
            await self._open(bucket, registry, follower)

    async def _keep_accounts(self, system: Broker, accounts: Accounts, registry: FabricRegistry) -> None:
        """Push the accounts that the broker lacks, whenever it was away: another one, or one that lost power."""
        connected = asyncio.Event()
        system.on_connect(connected.set)
        while True:
            await connected.wait()
            connected.clear()
            try:
                if registry.revocations(subjects.FABRIC):  # a broker that lost its store has forgotten them
                    await registry.push_account(subjects.FABRIC)
                for project in sorted({*registry.project_ids(), *(self._projects.known() if self._projects else ())}):
                    if not await accounts.name_of(self._keyring.project_public(project)):
                        log.warning("the broker has forgotten the account of project %s", project)
                        await registry.push_account(project)
            except LoominalError as error:
                log.warning("accounts: %s", error)

    async def _open(self, bucket: Bucket, registry: FabricRegistry, follower: Follower) -> None:
        """Return when the registry is in memory and knows this machine, however long the broker is away."""
        told = ""
        while True:
            try:
                await bucket.log.broker.wait_up(ANSWER_SECONDS)
                await bucket.ensure()
                await follower.caught_up(READ_SECONDS)
                if self._machine is not None:
                    await registry.add_machine(self._own_machine(self._machine))
                return
            except LoominalError as error:
                if error.message != told:
                    log.info("the registry is not open yet: %s", error)
                    told = error.message
            await asyncio.sleep(RETRY_SECONDS)

    def _own_machine(self, credential: Credential) -> Machine:
        return Machine(
            name=credential.name,
            user=self._owner,
            key=credential.key.public,
            role=Role.OPERATOR,
            created_at=datetime.now(UTC),
        )

    @contextlib.asynccontextmanager
    async def _connect(self, project: str) -> AsyncIterator[Broker]:
        credential = self._keyring.hub_credential(project, HUB_NAME)
        async with Broker.connect(
            self._url,
            name=f"weft {project}",
            inbox=subjects.reply_prefix(HUB_NAME),
            credential=lambda: credential,
            tls=self._tls,
            wait_seconds=0,
        ) as broker:
            yield broker

    def _title(self, project: str) -> str:
        return self.titles().get(project, project)


class OpenFabric:
    """Somebody else's broker: one account and connection for everything; a project is loaded at its first request."""

    def __init__(self, broker: Broker, url: str, timings: Timings, here: Living) -> None:
        self._broker = broker
        self._url = url
        self._timings = timings
        self.failures: Counter[str] = Counter()  # of duties, by name
        self._members = Membership(broker, here.weft, FORMAT, here.has_ended)
        self._projects: Projects | None = None

    def reasons(self) -> list[str]:
        """Return what keeps the fabric from serving everybody, one line each; nothing if it serves."""
        if not self._broker.up or self._projects is None:
            return [f"broker: {self._url} does not answer ({self._broker.last_error or 'connecting'})"]
        return _reasons(self._members, self._projects)

    def leaders(self) -> dict[str, str]:
        """Return the weft that leads each project loaded here, "" where nobody does."""
        return self._projects.leaders() if self._projects else {}

    def wefts(self) -> list[str]:
        """Return the wefts that are alive and stay."""
        return self._members.weft_ids

    async def leave(self, seconds: float) -> None:
        """Hand every project on, for at most `seconds`."""
        await _leave(self._members, self._projects, seconds)

    def titles(self) -> dict[str, str]:
        """Return how lists show each known project, by id; in open mode only those that were heard of."""
        return {project: project for project in self._projects.known()} if self._projects else {}

    def activity(self) -> tuple[int, int] | None:
        """Return how many agents are online and how many items are open; None while that is not known."""
        return self._projects.activity() if self._projects else None

    async def serve(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            members = self._members
            group.create_task(members.run(), name="membership")
            await members.joined()
            projects = self._projects = Projects(self._connect, str, OpenAuthority(), self._timings, members, group)
            await members.heed(projects.load)
            group.create_task(_look_through(projects, self._timings, None), name="what is needed")
            watch = StoreWatch(projects.fullness, projects.logs, lambda: False)
            measure = functools.partial(self._measure, watch)
            group.create_task(every(MEASURE_SECONDS, measure, "fullness", self.failures), name="fullness")
            copies = functools.partial(spread, projects.logs)
            group.create_task(every(SPREAD_SECONDS, copies, "copies", self.failures), name="copies")
            await self._broker.subscribe(subjects.any_request(), lambda message: self._heard(message, group))
            await asyncio.Event().wait()

    async def _measure(self, watch: StoreWatch) -> None:
        """Let `watch` know how full the account is; one without a limit never is. Raises: BrokerUnavailable."""
        if (told := await account_use(self._broker)).limit_bytes > 0:
            watch.measured(told.stored_bytes / told.limit_bytes)

    @contextlib.asynccontextmanager
    async def _connect(self, _: str) -> AsyncIterator[Broker]:
        yield self._broker

    def _heard(self, message: Received, group: asyncio.TaskGroup) -> None:
        """Load the project of a request; until it is served tell the asker to come again."""
        _, project, _, agent = message.subject.split(".")
        if self._projects is None or not PROJECT_NAME.fullmatch(project) or not SUBJECT_TOKEN.fullmatch(agent):
            return
        self._projects.need(project)
        if self._projects.is_served(project):
            return
        if message.reply.startswith(subjects.reply_prefix(agent) + ".") and not set(message.reply) & set("*> "):
            group.create_task(self._put_off(project, message.reply), name=f"put off {agent}")

    async def _put_off(self, project: str, reply: str) -> None:
        problem = HubUnavailable(f"project {project} is being loaded", "it is asked again by itself").problem()
        with contextlib.suppress(LoominalError):  # the asker asks again anyway
            await self._broker.publish(reply, encode(Answer(proto=PROTO, error=problem)))


def _reasons(members: Membership, projects: Projects) -> list[str]:
    if not members.sure():
        return ["membership: this weft cannot tell the others that it lives"]
    late = [f"leadership: project {project} is not served yet" for project in projects.not_ready()]
    return late + [f"upgrade: {why}" for why in projects.read_only()]


async def _leave(members: Membership | None, projects: Projects | None, seconds: float) -> None:
    """Let the others know that this weft ends, and hand every project on."""
    if members is None or projects is None:
        return
    try:
        await members.leave()
    except LoominalError as error:
        log.info("the other wefts are not told that this one ends: %s", error)
    await projects.leave(seconds)


async def _look_through(projects: Projects, timings: Timings, registry: FabricRegistry | None) -> None:
    """Load what is due and leave what nobody needs, until cancelled."""
    met: dict[str, datetime] = {}  # project -> the time for which it was loaded
    while True:
        for record in registry.due(datetime.now(UTC)) if registry else ():
            if met.get(record.project) != record.at:
                met[record.project] = record.at
                projects.need(record.project)
        projects.review_all()
        projects.tidy()
        await asyncio.sleep(min(REVIEW_SECONDS, timings.unload_seconds / 5))
