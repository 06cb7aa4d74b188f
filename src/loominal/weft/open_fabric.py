"""Somebody else's broker: one account and connection for everything, and everything on trust."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from loominal.broker import subjects
from loominal.broker.accounts import account_use
from loominal.broker.connection import Broker, Received
from loominal.fabric.hub.abroad.asking import Abroad
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.lead.membership import Membership
from loominal.fabric.hub.streams import FORMAT
from loominal.fabric.hub.timings import Timings
from loominal.fabric.protocol import PROTO, Answer, encode
from loominal.model import names
from loominal.model.errors import BrokerUnavailable, HubUnavailable, LoominalError
from loominal.model.names import PROJECT_NAME, SUBJECT_TOKEN
from loominal.model.policy import Policy
from loominal.weft.cluster import SPREAD_SECONDS, spread
from loominal.weft.duties import every
from loominal.weft.events.watches import Watches
from loominal.weft.fabric import leave, look_through, reasons_of
from loominal.weft.living import Living
from loominal.weft.projects import Projects
from loominal.weft.store import MEASURE_SECONDS, StoreWatch


class OpenFabric:
    """Somebody else's broker: one account and connection for everything; a project is loaded at its first request."""

    def __init__(
        self,
        broker: Broker,
        url: str,
        timings: Timings,
        here: Living,
        connect: Callable[[str], AbstractAsyncContextManager[Broker]],  # under another name than weft's
        policy: Policy,  # of every project
    ) -> None:
        self._broker = broker
        self._url = url
        self._connect_named = connect
        self._timings = timings
        self._policy = policy
        self.failures: Counter[str] = Counter()  # of duties, by name
        self._members = Membership(broker, here.weft, FORMAT, here.has_ended)
        self._watches: Watches | None = None
        self._projects: Projects | None = None

    def projects(self) -> Projects | None:
        """Return the projects that are loaded here; None while the fabric is not open."""
        return self._projects

    def broker(self) -> Broker:
        """Return the connection on which the fabric itself is kept."""
        return self._broker

    def reasons(self) -> list[str]:
        """Return what keeps the fabric from serving everybody, one line each; nothing if it serves."""
        if not self._broker.up or self._projects is None:
            return [f"broker: {self._url} does not answer ({self._broker.last_error or 'connecting'})"]
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
        return self._members.weft_ids

    def bearers(self) -> None:
        """Return None: in open mode weft's own file alone names bearer tokens."""

    async def leave(self, seconds: float) -> None:
        """Hand every project on, for at most `seconds`."""
        await leave(self._members, self._projects, seconds)

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
            abroad, authority = Abroad(self._broker), OpenAuthority()
            projects = self._projects = Projects(
                self._connect, str, authority, self._timings, members, group, self._policy, abroad
            )
            self._watches = Watches(projects, group)
            group.create_task(abroad.run(projects.need), name="other projects")
            await members.heed(projects.load)
            group.create_task(look_through(projects, self._timings, None), name="what is needed")
            watch = StoreWatch(projects.fullness, projects.logs, lambda: False)
            measure = functools.partial(self._measure, watch)
            group.create_task(every(MEASURE_SECONDS, measure, "fullness", self.failures), name="fullness")
            copies = functools.partial(spread, projects.logs)
            group.create_task(every(SPREAD_SECONDS, copies, "copies", self.failures), name="copies")
            await self._broker.subscribe(subjects.any_request(), lambda message: self._heard(message, group))
            await asyncio.Event().wait()

    async def open_project(self, project: str, *, meant: bool) -> bool:  # noqa: ARG002 - the protocol's
        """Return True, and have the project served: in open mode there is each that somebody names.

        Raises: InvalidArgument if no project can be called so, BrokerUnavailable.
        """
        if self._projects is None:
            raise BrokerUnavailable("the coordinator is not connected yet")
        self._projects.need(names.project_name(project))
        return True

    def connect_as(self, project: str, caller: str) -> AbstractAsyncContextManager[Broker]:  # noqa: ARG002
        """Open a connection on which `caller`, who holds a bearer token, asks."""
        return self._connect_named(caller)

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
