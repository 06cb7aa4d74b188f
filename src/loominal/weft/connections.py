"""Which agents are connected, as the broker's system account tells: as it happens, and all of them after a connect."""

from __future__ import annotations

import asyncio
import logging

from loominal.broker import subjects
from loominal.broker.accounts import Accounts, Connection, connection_gone, list_connections
from loominal.broker.connection import Broker, Received
from loominal.broker.keyring import Keyring
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.model.errors import LoominalError
from loominal.model.names import PROJECT_NAME, api_role
from loominal.weft.projects import Projects

HUB_NAME = subjects.WEFT
AGAIN_SECONDS = 1.0  # between two tries; and a connection of somebody unknown is looked at again: it may be a new one

log = logging.getLogger(__name__)


class Connections:
    """Tells `projects` of the agents that come and go. `system` is connected to the system account."""

    def __init__(
        self, system: Broker, accounts: Accounts, registry: FabricRegistry, keyring: Keyring, projects: Projects
    ) -> None:
        self._system = system
        self._broker_accounts = accounts
        self._registry = registry
        self._keyring = keyring
        self._projects = projects
        self._open: dict[tuple[str, str], set[tuple[str, int]]] = {}  # of an agent in a project: server, cid
        # public key of an account -> project, "" for the fabric's own and for those of nobody we know
        self._accounts: dict[str, str] = {keyring.fabric_public: "", keyring.system_public: ""}
        self._unknown: set[str] = set()  # accounts that somebody is connected to
        self._look = asyncio.Event()  # at everything, after a connect, and at what is unknown
        self._list_due = False  # nothing was listed since the last connect

    async def follow(self) -> None:
        """Follow until cancelled."""
        await self._system.subscribe(subjects.system_connects(), self._hear_coming)
        await self._system.subscribe(subjects.system_disconnects(), self._hear_going)
        self._system.on_connect(self._connect)
        while True:
            await self._look.wait()
            self._look.clear()
            try:
                if self._list_due:
                    self._list_due = False
                    await self._list()
                await self._find_projects()
            except LoominalError as error:
                log.info("who is connected is not known yet: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
                self._connect()

    def _connect(self) -> None:
        self._list_due = True
        self._look.set()

    async def _list(self) -> None:
        """Know all connections there are; those that went while nobody listened are gone now."""
        before = [(place, which) for place, open_ in self._open.items() for which in open_]
        found = await list_connections(self._system)
        for connection in found:
            self._came(connection, again=False)
        there = {(connection.server, connection.cid) for connection in found}
        for (project, agent), which in before:
            if which not in there:
                self._close(project, agent, which, closed=False)

    async def _find_projects(self) -> None:
        """See to it that projects are served that only the broker knows: the registry lost them, or is behind.

        Their agents are to hear that they must enrol again.
        """
        for account in list(self._unknown):
            name = await self._broker_accounts.name_of(account)
            is_ours = PROJECT_NAME.fullmatch(name) is not None and self._keyring.project_public(name) == account
            self._accounts[account] = name if is_ours else ""
            self._unknown.discard(account)
            if is_ours:
                self._projects.need(name)

    def _hear_coming(self, message: Received) -> None:
        if connection := connection_gone(message.data):
            self._came(connection, again=True)

    def _hear_going(self, message: Received) -> None:
        """Tell the hub that an agent's last connection ended; a new one may have come before the old one went."""
        connection = connection_gone(message.data)
        if connection and (project := self._project_of(connection)):
            which = (connection.server, connection.cid)
            self._close(project, connection.name, which, closed=connection.closed_by_client)

    def _came(self, connection: Connection, *, again: bool) -> None:
        project = self._project_of(connection)
        if project:
            before = self._open.get((project, connection.name), set())
            # One server at a time: what another saw of this agent may never be told to have ended, if that server died.
            here = {known for known in before if known[0] == connection.server}
            self._open[project, connection.name] = here | {(connection.server, connection.cid)}
            self._projects.came(project, connection.name)
            return
        if project := self._account(connection):  # its enrolment is new, or was lost: it enrols again
            self._projects.need(project)
        if again:
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, lambda: self._came(connection, again=False))

    def _close(self, project: str, agent: str, which: tuple[str, int], *, closed: bool) -> None:
        left = self._open.get((project, agent), set())
        left.discard(which)
        if not left:
            self._open.pop((project, agent), None)
            self._projects.went(project, agent, closed=closed)

    def _account(self, connection: Connection) -> str:
        """Return the project in whose account an agent is; "" for wefts, for who is in none, and until it is found."""
        if connection.name == HUB_NAME:
            return ""
        if connection.account not in self._accounts:
            self._unknown.add(connection.account)
            self._look.set()
        return self._accounts.get(connection.account, "")

    def _project_of(self, connection: Connection) -> str:
        """Return the project of an agent that enrolled, or in which a weft asks over REST; "" for everybody else."""
        if api_role(connection.name):
            return self._account(connection)
        bound = self._registry.enrolment(connection.name)
        if bound is None or self._keyring.project_public(bound.project) != connection.account:
            return ""
        return bound.project
