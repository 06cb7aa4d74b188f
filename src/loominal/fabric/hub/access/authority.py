"""Who may do what: the fabric's own registry, asked by the dispatcher at every request and written by enrolment.

Weft makes one for all its projects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from loominal.broker import subjects
from loominal.broker.accounts import Accounts
from loominal.broker.bucket import Bucket, Deleted, Entry
from loominal.broker.follower import Follower
from loominal.broker.keyring import Keyring
from loominal.fabric.hub.access.fabric_book import TRIES, FabricBook, Kind
from loominal.fabric.hub.access.fabric_records import DueRecord, Enrolment, Invitation, Machine, ProjectRecord
from loominal.fabric.hub.caller import Standing
from loominal.model.errors import Conflict, CorruptRecord, Forbidden, NotFound
from loominal.model.grant import Grant, Role, in_force, narrower, own_user_grant
from loominal.model.names import PROJECT_NAME, api_role, api_user, shown

KEPT = timedelta(days=1)  # how long after its end an invitation is still told why it is refused
CATCH_UP_SECONDS = 5.0  # with what other wefts write: milliseconds, unless the broker is ill


class FabricRegistry:
    """The fabric's bucket in memory: machines, enrolments, projects and grants. `owner` is the fabric's own user.

    Memory follows the bucket; what this process writes is in memory when the write returns. Reads never wait, writes
    raise BrokerUnavailable.
    """

    open_mode = False

    def __init__(self, bucket: Bucket, keyring: Keyring, accounts: Accounts, owner: str) -> None:
        self.book = FabricBook(bucket)
        self.corrupt = self.book.corrupt  # key of a record that cannot be read -> why
        self._keyring = keyring
        self._accounts = accounts
        self._following: Follower | None = None
        self._own = own_user_grant(owner)
        self._standings: dict[str, Standing] = {}  # made at the first question, forgotten at every change
        self.book.on_change(lambda _: self._standings.clear())

    def follower(self, replaced: Callable[[], None] = lambda: None) -> Follower:
        """Return what keeps the memory like the bucket; run it, and ask nothing before it has caught up.

        `replaced` is called when the bucket is gone or another one: everything is forgotten then.
        """

        def forget() -> None:
            self.clear()
            replaced()

        self._following = self.book.bucket.follow(self.apply, on_reset=forget)
        return self._following

    async def catch_up(self) -> None:
        """Take into memory what other wefts have written until now. Raises: BrokerUnavailable."""
        if self._following is not None:
            await self._following.up_to_date(CATCH_UP_SECONDS)

    def clear(self) -> None:
        """Forget everything: the bucket was replaced."""
        self.book.clear()

    def apply(self, change: Entry | Deleted) -> None:
        """Take a change of the bucket into memory; an older one than memory has changes nothing."""
        self.book.apply(change)

    # what there is

    def standing(self, project: str, agent: str) -> Standing | None:
        """Return the standing of `agent` in `project`.

        None if it never enrolled there or was cut off, and while no grant lets its user in. Who asks over REST has the
        role that its id tells, and no grants: only wefts can publish under such an id, and they check the bearer token.
        """
        if role := api_role(agent):
            return Standing(agent=agent, user=api_user(agent, self._own.user), role=Role(role), grants=())
        bound = self.enrolment(agent)
        if bound is None or bound.project != project:
            return None
        known = self._standings.get(agent)
        if known is None and (known := self._standing(bound)) is not None:
            self._standings[agent] = known
        return known if known and self._let_in(known.grants, project) else None

    def is_cut_off(self, agent: str) -> bool:
        """Return whether `agent`, or its machine, was cut off for good."""
        bound = self.enrolment(agent)
        machine = self.machine(bound.machine) if bound else None
        return bound is not None and (bound.revoked_at or (machine and machine.revoked_at)) is not None

    def machine(self, name: str) -> Machine | None:
        """Return a machine, also one that was revoked."""
        return self.book.get(Machine, f"machine.{name}")

    def machines(self) -> list[Machine]:
        """Return every machine, also those that were revoked, by name."""
        return self.book.all(Machine)

    def invitation(self, invitation_id: str) -> Invitation | None:
        """Return an invitation, also one that was spent or is over."""
        return self.book.get(Invitation, f"invitation.{invitation_id}")

    async def find_invitation(self, invitation_id: str) -> Invitation | None:
        """Return an invitation as `invitation`, also one that another weft has stored only now."""
        if self.invitation(invitation_id) is None:
            await self.book.read(f"invitation.{invitation_id}")
        return self.invitation(invitation_id)

    def invitations(self) -> list[Invitation]:
        """Return every invitation, by id."""
        return self.book.all(Invitation)

    def enrolment(self, agent: str) -> Enrolment | None:
        """Return how `agent` enrolled, also if it was cut off since."""
        return self.book.get(Enrolment, f"agent.{agent}")

    def project(self, project: str) -> ProjectRecord | None:
        """Return what is known of a project."""
        return self.book.get(ProjectRecord, f"project.{project}")

    def projects(self) -> list[ProjectRecord]:
        """Return every project whose record can be read, by id."""
        return self.book.all(ProjectRecord)

    def titles(self) -> dict[str, str]:
        """Return how lists show each project, by id."""
        return {project.id: project.title for project in self.projects()}

    def project_ids(self) -> list[str]:
        """Return the id of every project, in order; one whose own record cannot be read is known by its agents."""
        known = {record.id for record in self.projects()}
        spoilt = {agent.project for agent in self.book.all(Enrolment) if f"project.{agent.project}" in self.corrupt}
        return sorted(name for name in known | spoilt if PROJECT_NAME.fullmatch(name))

    def grants(self, project: str) -> list[Grant]:
        """Return the grants that concern `project`, the one of the fabric's own user first."""
        return [self._own, *(grant for grant in self.book.all(Grant) if _concerns(grant, project))]

    def grants_of_machine(self, machine: str) -> list[Grant]:
        """Return the grants that hold on this machine alone."""
        return [grant for grant in self.book.all(Grant) if grant.machine == machine]

    def grants_of_user(self, user: str) -> list[Grant]:
        """Return every grant of `user`, in whatever project, on whatever machine."""
        return [grant for grant in (self._own, *self.book.all(Grant)) if grant.user == user]

    def revocations(self, project: str) -> dict[str, int]:
        """Return the keys that are cut off from the account of `project` (or `subjects.FABRIC`), with Unix seconds."""
        machines = {machine.name: machine.revoked_at for machine in self.machines() if machine.revoked_at is not None}
        if project == subjects.FABRIC:
            let_in = [(machine.key, machines.get(machine.name)) for machine in self.machines() if machine.key]
            gone = [*let_in, *((invitation.key, invitation.revoked_at) for invitation in self.invitations())]
        else:
            agents = (agent for agent in self.book.all(Enrolment) if agent.project == project)
            gone = [(each.key, each.revoked_at or machines.get(each.machine) or each.cut_at) for each in agents]
        return {key: int(at.timestamp()) for key, at in gone if at is not None}

    # what changes

    async def add_machine(self, machine: Machine) -> None:
        """Let a machine enrol agents; one that is known keeps what it was, a revocation above all.

        A record that cannot be read is replaced: whoever calls vouches for the machine.
        """
        if self.machine(machine.name) is None:
            await self.book.create(f"machine.{machine.name}", machine)

    async def add_project(self, project: str, title: str, now: datetime) -> None:
        """Remember a project; one that is known keeps its title."""
        if self.project(project) is None:
            await self.book.create(f"project.{project}", ProjectRecord(id=project, title=title, created_at=now))

    async def enrol(self, wanted: Enrolment) -> Enrolment:
        """Return the enrolment of an agent id: `wanted` if it is the first.

        Raises: Forbidden if no grant lets the user into the project, or the id belongs to another key, project or user
        or was cut off; CorruptRecord.
        """
        if not self._let_in(self._grants(wanted.project, wanted.user, wanted.machine), wanted.project):
            raise Forbidden(
                f"no grant lets agents of {wanted.user} into project {wanted.project}",
                "an operator of the fabric can grant it: `loominal grant`",
            )
        if (bound := self.enrolment(wanted.agent)) is None and f"agent.{wanted.agent}" not in self.corrupt:
            await self.book.create(f"agent.{wanted.agent}", wanted)
            bound = self.enrolment(wanted.agent)
        if bound is None:
            raise CorruptRecord(f"the enrolment of agent {wanted.agent} cannot be read", "use another agent id")
        if bound.revoked_at is not None:
            raise Forbidden(f"agent {bound.agent} was cut off", "an operator did that; end this process")
        if bound.key != wanted.key:
            raise Forbidden(f"agent {bound.agent} belongs to another key", "use the slot that holds its key")
        if bound.project != wanted.project:
            raise Forbidden(f"agent {bound.agent} belongs to another project", "an agent has one id in each project")
        if bound.user != wanted.user:
            raise Forbidden(f"agent {bound.agent} belongs to another user")
        if bound.role is not wanted.role:
            changed = await self.change(
                f"agent.{bound.agent}", Enrolment, lambda it: msgspec.structs.replace(it, role=wanted.role)
            )
            bound = changed or bound
        return bound

    async def grant(self, grant: Grant) -> None:
        """Store a grant; it holds at once."""
        await self.book.create(f"grant.{grant.id}", grant)

    async def revoke_grant(self, grant_id: str) -> Grant:
        """Take a grant back and return it. Raises: NotFound, Forbidden for that of the fabric's own user."""
        if grant_id == self._own.id:
            raise Forbidden("the grant of the fabric's own user cannot be taken back")
        key = f"grant.{grant_id}"
        for _ in range(TRIES):
            grant = self.book.get(Grant, key)
            if grant is None:
                break
            try:
                await self.book.remove(key)
            except Conflict:
                await self.book.read(key)
                continue
            return grant
        raise NotFound(f"there is no grant {grant_id!r}", "list_grants shows them")

    async def revoke_agent(self, project: str, agent: str, tell: Callable[[], Awaitable[None]] | None = None) -> None:
        """Cut `agent` off for good: recorded, and its connection ends at once, after `tell`. Raises: NotFound."""
        bound = self.enrolment(agent)
        if bound is None or bound.project != project:
            raise NotFound(f"no agent {agent} has enrolled in this project")
        now = datetime.now(UTC)
        await self.change(
            f"agent.{agent}", Enrolment, lambda it: it if it.revoked_at else msgspec.structs.replace(it, revoked_at=now)
        )
        if tell is not None:
            await tell()
        await self.push_account(project)

    async def invite(self, invitation: Invitation) -> str:
        """Store an invitation, if it is the first of its id, and return the JWT with which its holder may join."""
        await self.book.create(f"invitation.{invitation.id}", invitation)
        stored = self.invitation(invitation.id)
        if stored is None:
            raise CorruptRecord(f"invitation {invitation.id} cannot be read", "invite again")
        if stored.revoked_at is not None:
            raise NotFound(f"invitation {invitation.id} was taken back", "invite again")
        ends = None if stored.agent else stored.expires_at + KEPT  # an agent renews its own credential with it
        return self._keyring.machine_jwt(stored.user_name, stored.key, ends)

    async def revoke_invitation(self, invitation_id: str) -> Invitation:
        """Take an invitation back that nobody has used: its holder cannot connect any more.

        Raises: NotFound, Forbidden if somebody has used it.
        """
        now = datetime.now(UTC)

        def taken_back(it: Invitation) -> Invitation:
            if it.spent_by:
                raise Forbidden(
                    f"invitation {it.id} has let {it.machine} in",
                    f"`loominal machines --revoke {it.machine}` cuts it off",
                )
            return it if it.revoked_at else msgspec.structs.replace(it, revoked_at=now)

        await self.find_invitation(invitation_id)
        gone = await self.change(f"invitation.{invitation_id}", Invitation, taken_back)
        if gone is None:
            raise NotFound(f"there is no invitation {shown(invitation_id)}", "`loominal machines` lists open ones")
        await self.push_account(subjects.FABRIC)
        return gone

    async def revoke_machine(
        self, name: str, tell: Callable[[Enrolment], Awaitable[None]] | None = None
    ) -> list[Enrolment]:
        """Cut a machine and its agents off for good, each after `tell`, and return the agents.

        Raises: NotFound, Forbidden for our own.
        """
        machine = self.machine(name)
        if machine is None:
            raise NotFound(f"there is no machine {shown(name)}", "`loominal machines` lists them")
        if machine.user == self._own.user:
            raise Forbidden(f"machine {name} is the fabric's own", "`loominal down` stops the fabric")
        now = datetime.now(UTC)
        await self.change(
            f"machine.{name}", Machine, lambda it: it if it.revoked_at else msgspec.structs.replace(it, revoked_at=now)
        )
        agents = [agent for agent in self.book.all(Enrolment) if agent.machine == name]
        if tell is not None:
            await asyncio.gather(*map(tell, agents))
        for account in (subjects.FABRIC, *sorted({agent.project for agent in agents})):
            await self.push_account(account)
        return agents

    async def end_enrolment(self, invitation_id: str) -> None:
        """Make an agent's invitation worthless, and cut off what it has let in; nothing happens if there is none.

        Whoever lets the agent in just now finds the machine cut off.
        """
        now = datetime.now(UTC)
        await self.find_invitation(invitation_id)
        ended = await self.change(
            f"invitation.{invitation_id}",
            Invitation,
            lambda it: it if it.revoked_at else msgspec.structs.replace(it, revoked_at=now),
        )
        if ended is None:
            return
        if not ended.spent_by:
            await self.push_account(subjects.FABRIC)
            return
        await self.add_machine(
            Machine(name=ended.user_name, user=ended.by, key=ended.key, role=ended.role, created_at=now)
        )
        await self.revoke_machine(ended.user_name)

    async def cut(self, project: str, agent: str) -> None:
        """End the connections that `agent` has now: it may enrol again, with a newer credential."""
        now = datetime.now(UTC)
        await self.change(f"agent.{agent}", Enrolment, lambda it: msgspec.structs.replace(it, cut_at=now))
        await self.push_account(project)

    async def change(self, key: str, kind: type[Kind], change: Callable[[Kind], Kind]) -> Kind | None:
        """Return the record at `key` after `change`: see `FabricBook.change`."""
        return await self.book.change(key, kind, change)

    def due_at(self, project: str) -> datetime | None:
        """Return when `project` must be loaded if it is not."""
        record = self.book.get(DueRecord, subjects.due_key(project))
        return record.at if record else None

    def due(self, now: datetime) -> list[DueRecord]:
        """Return the projects whose time has come."""
        return [record for record in self.book.all(DueRecord) if record.at <= now]

    async def set_due(self, project: str, at: datetime | None) -> None:
        """Write down when `project` must be loaded; None: there is no such time. Raises: Conflict, BrokerUnavailable.

        Only its leader writes it; a conflict is gone at the next try.
        """
        key = subjects.due_key(project)
        if at is not None:
            await self.book.put(key, DueRecord(project=project, at=at))
        elif self.book.get(DueRecord, key) is not None:
            await self.book.remove(key)

    async def push_account(self, project: str) -> None:
        """Make the broker know the account of `project`, and who is cut off from it. Raises: BrokerUnavailable.

        Of two wefts that push at once the last one is heard. It looks once more for what the other one has recorded
        before, and so no revocation is undone.
        """
        pushed: dict[str, int] | None = None
        while (cut_off := self.revocations(project)) != pushed:
            await self._accounts.push(self._keyring.account_jwt(project, cut_off))
            pushed = cut_off
            await self.catch_up()

    def _standing(self, bound: Enrolment) -> Standing | None:
        machine = self.machine(bound.machine)
        if machine is None or bound.revoked_at is not None or machine.revoked_at is not None:
            return None
        grants = self._grants(bound.project, machine.user, machine.name)
        return Standing(
            agent=bound.agent,
            user=machine.user,
            role=narrower(bound.role, machine.role),
            grants=grants,
            machine=machine.name,
            launch=bound.launch,
        )

    def _grants(self, project: str, user: str, machine: str) -> tuple[Grant, ...]:
        """Return the grants of a user's agents on one machine in one project, also those whose time is over."""
        mine = (grant for grant in self.grants(project) if grant.user == user)
        return tuple(grant for grant in mine if grant.machine in ("", machine))

    def _let_in(self, grants: Iterable[Grant], project: str) -> bool:
        now = datetime.now(UTC)
        return any(in_force(grant, project=project, now=now) for grant in grants)


def _concerns(grant: Grant, project: str) -> bool:
    return not grant.projects or project in grant.projects
