"""A broker under our own keys: an account per project, a registry and enrolment in the fabric's own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

from loominal.broker import subjects
from loominal.broker.accounts import Accounts, server_use
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.follower import Follower
from loominal.broker.keyring import Keyring
from loominal.fabric.hub.abroad.asking import Abroad
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.fabric.hub.access.bearers import Bearers
from loominal.fabric.hub.access.enrolment import Enrolments
from loominal.fabric.hub.access.fabric_records import Machine
from loominal.fabric.hub.lead.membership import Membership
from loominal.fabric.hub.spinup.launcher import Launcher
from loominal.fabric.hub.streams import FORMAT
from loominal.fabric.hub.timings import Timings
from loominal.model import names
from loominal.model.errors import BrokerUnavailable, LoominalError
from loominal.model.grant import Role
from loominal.model.policy import Policy
from loominal.weft.cluster import LOOK_SECONDS, SPREAD_SECONDS, Quorum, spread
from loominal.weft.connections import HUB_NAME, Connections
from loominal.weft.duties import every
from loominal.weft.events.watches import Watches
from loominal.weft.fabric import leave, look_through, reasons_of
from loominal.weft.living import Living
from loominal.weft.projects import Projects
from loominal.weft.store import MEASURE_SECONDS, StoreWatch, use_of

ANSWER_SECONDS = 3.0
SURVEY_SECONDS = 1.0  # for all servers of a cluster; those that are down never answer
READ_SECONDS = 60.0  # the fabric's registry is small; a broker that needs longer to send it is in trouble
RETRY_SECONDS = 0.3  # between two tries to open the registry while the broker is not there

log = logging.getLogger(__name__)


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
        policy: Policy,  # of projects in which nobody has set one
        tls: ssl.SSLContext | None = None,
        restart: Callable[[], bool] = lambda: False,  # the broker; returns whether somebody will
        launcher: Launcher | None = None,
    ) -> None:
        self._url = url
        self._keyring = keyring
        self._machine = machine
        self._owner = owner
        self._timings = timings
        self._here = here
        self._store = store  # the broker's directory, if it is on this machine
        self._policy = policy
        self._tls = tls
        self._restart = restart
        self._launcher = launcher
        self.failures: Counter[str] = Counter()  # of duties, by name
        self._broker: Broker | None = None
        self._registry: FabricRegistry | None = None
        self._bearers: Bearers | None = None
        self._watches: Watches | None = None
        self._projects: Projects | None = None  # None until the registry is read
        self._quorum: Quorum | None = None
        self._members: Membership | None = None

    def projects(self) -> Projects | None:
        """Return the projects that are loaded here; None while the fabric is not open."""
        return self._projects

    def broker(self) -> Broker | None:
        """Return the connection on which the fabric itself is kept; None while there is none."""
        return self._broker

    def reasons(self) -> list[str]:
        """Return what keeps the fabric from serving everybody, one line each; nothing if it serves."""
        if self._broker is None or not self._broker.up:
            why = self._broker.last_error if self._broker else "not connected yet"
            return [f"broker: {self._url} does not answer ({why or 'connecting'})"]
        if self._projects is None or self._members is None:
            return ["registry: it is not read yet"]
        if self._quorum is not None and self._quorum.trouble:
            return [f"broker: {self._quorum.trouble}"]
        return reasons_of(self._members, self._projects)

    def leaders(self) -> dict[str, str]:
        """Return the weft that leads each project loaded here, "" where nobody does."""
        return self._projects.leaders() if self._projects else {}

    def in_use(self, project: str) -> bool:
        """Return whether some weft has `project` loaded, as far as this one can know."""
        return self._projects is not None and self._projects.is_in_use(project)

    def watches(self) -> Watches:
        """Return the projects that are watched here. Raises: BrokerUnavailable while this weft cannot know them."""
        if self._watches is None:
            raise BrokerUnavailable("the coordinator is not connected yet")
        return self._watches

    def wefts(self) -> list[str]:
        """Return the wefts that are alive and stay."""
        return self._members.weft_ids if self._members else []

    def bearers(self) -> Bearers:
        """Return the bearer tokens that the registry keeps. Raises: BrokerUnavailable while it is not read."""
        if self._bearers is None:
            raise BrokerUnavailable("the fabric's registry is not read yet")
        return self._bearers

    async def leave(self, seconds: float) -> None:
        """Hand every project on, for at most `seconds`."""
        await leave(self._members, self._projects, seconds)

    def titles(self) -> dict[str, str]:
        """Return how lists show each known project, by id."""
        return self._registry.titles() if self._registry else {}

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
            self._registry, self._bearers = registry, Bearers(registry.book)
            group.create_task(self._reopen(bucket, registry, follower, lost), name="registry anew")
            group.create_task(self._keep_accounts(system, accounts, registry), name="accounts")
            await members.joined()
            abroad = Abroad(broker)
            given = (self._timings, members, group, self._policy, abroad, self._launcher)
            projects = Projects(self._connect, self._title, registry, *given)
            group.create_task(abroad.run(projects.need), name="other projects")
            await members.heed(projects.load)
            self._projects = projects
            self._watches = Watches(projects, group)
            connections = Connections(system, accounts, registry, self._keyring, projects)
            group.create_task(connections.follow(), name="connections")
            group.create_task(look_through(projects, self._timings, registry), name="what is needed")
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

    async def open_project(self, project: str, *, meant: bool) -> bool:
        """Return whether there is that project, and have it served; one that is `meant` is made if it is not there.

        Raises: InvalidArgument if no project can be called so, BrokerUnavailable.
        """
        if self._registry is None or self._projects is None:
            raise BrokerUnavailable("the fabric's registry is not read yet")
        if self._registry.project(project) is None:
            if not meant:
                return False
            await self._registry.push_account(names.project_name(project))
            await self._registry.add_project(project, project, datetime.now(UTC))
        self._projects.need(project)
        return True

    @contextlib.asynccontextmanager
    async def connect_as(self, project: str, caller: str) -> AsyncIterator[Broker]:
        """Open a connection on which `caller`, who holds a bearer token, asks in `project`."""
        credential = self._keyring.hub_credential(project, caller)
        async with Broker.connect(
            self._url,
            name=f"{caller} {project}",
            inbox=subjects.reply_prefix(caller),
            credential=lambda: credential,
            tls=self._tls,
            wait_seconds=0,
        ) as broker:
            yield broker

    def _connect(self, project: str) -> AbstractAsyncContextManager[Broker]:
        return self.connect_as(project, HUB_NAME)

    def _title(self, project: str) -> str:
        return self.titles().get(project, project)
