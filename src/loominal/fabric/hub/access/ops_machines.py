"""Other machines, for operators: inviting them (or a launched agent), listing them, cutting them off.

Open mode refuses it.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta

from loominal.broker.nkeys import Kind, public_key
from loominal.fabric.hub.access.fabric_records import INVITED, Enrolment, Invitation, Machine
from loominal.fabric.hub.agents.control import last_word
from loominal.fabric.hub.caller import HINT, Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.judging import hand_back
from loominal.fabric.operations.access import (
    InvitationRevoked,
    Invite,
    Invited,
    ListMachines,
    MachineRevoked,
    Machines,
    MachineView,
    RevokeInvitation,
    RevokeMachine,
)
from loominal.model import names, times
from loominal.model.errors import InvalidArgument, NotFound
from loominal.model.grant import Role

EXPIRES = "1h"
CUT_OFF = "its machine was cut off"
LONGEST = timedelta(days=30)


async def invite(project: Project, caller: Caller, args: Invite) -> Invited:
    """Let one more machine join, or one agent enrol. Of the one-time secret only the public half comes here.

    Where no projects are named, all of the caller's are meant. Raises: InvalidArgument; Forbidden for others' projects.
    """
    now = project.clock.now()
    expires_at = times.instant(args.expires or EXPIRES, now, past=False)
    if not now < expires_at <= now + LONGEST:
        raise InvalidArgument(f"an invitation ends within {LONGEST.days} days, and not before now", "for example 1h")
    digest = hashlib.sha256(f"{caller.agent}:{caller.op}".encode())
    projects = tuple(names.project_name(each) for each in args.projects)
    if args.launch:
        projects = projects or (project.id,)
        _check_launch(args, projects)
    projects = projects or caller.projects
    caller.check_reach(projects, "the invitation")
    invitation = Invitation(
        id=digest.hexdigest()[:16],
        key=public_key(args.key, Kind.USER),
        agent=str(uuid.UUID(bytes=digest.digest()[16:], version=4)) if args.launch else "",
        launch=args.launch,
        role=args.role,
        projects=projects,
        agent_types=tuple(names.label(each, "agent type") for each in args.agent_types),
        boundaries=tuple(names.label(each, "boundary") for each in args.boundaries),
        capabilities=tuple(names.label(each, "capability") for each in args.capabilities),
        by=caller.standing.user,
        created_at=now,
        expires_at=expires_at,
    )
    jwt = await project.authority.invite(invitation)
    return Invited(id=invitation.id, jwt=jwt, expires_at=invitation.expires_at, agent=invitation.agent)


async def list_machines(project: Project, caller: Caller, args: ListMachines) -> Machines:
    """Return every machine, and every invitation and enrolment that is still good, as far as they are the caller's."""
    now = project.clock.now()
    invitations = [each for each in project.authority.invitations() if caller.reaches(each.projects)]
    refused = {each.machine: each.refused_at for each in invitations if each.refused_at is not None}
    machines = (
        MachineView(
            name=each.name,
            user=each.user,
            role=each.role,
            since=each.created_at,
            revoked_at=each.revoked_at,
            refused_at=refused.get(each.name),
        )
        for each in project.authority.machines()
        if not each.name.startswith(INVITED) and _reaches_machine(project, caller, each)
    )
    open_ = (each for each in invitations if not (each.spent_by or each.revoked_at) and now < each.expires_at)
    invited = (
        MachineView(
            name="",
            role=each.role,
            since=each.created_at,
            expires_at=each.expires_at,
            invitation=each.id,
            launch=each.launch,
        )
        for each in open_
    )
    return Machines(machines=(*machines, *invited))


async def revoke_invitation(project: Project, caller: Caller, args: RevokeInvitation) -> InvitationRevoked:
    """Take back an invitation, or a launch's enrolment, that nobody has used. Raises: NotFound, Forbidden."""
    names.subject_token(args.id, "invitation")
    if caller.projects:
        await project.authority.catch_up()
        known = next((each for each in project.authority.invitations() if each.id == args.id), None)
        if known is None:
            raise NotFound(f"there is no invitation {names.shown(args.id)}", "ask which are open")
        caller.check_reach(known.projects, f"invitation {known.id}")
    gone = await project.authority.revoke_invitation(args.id)
    return InvitationRevoked(id=gone.id)


async def revoke_machine(project: Project, caller: Caller, args: RevokeMachine) -> MachineRevoked:
    """Cut a machine off: its agents are told, their connections end, what they claimed is handed back at once.

    In other projects their leaders hand back in their next round (`judging.py`), and agents there are not told: their
    connections end. Raises: NotFound, Forbidden.
    """
    if caller.projects:
        machine = next((each for each in project.authority.machines() if each.name == args.name), None)
        if machine is None or not _reaches_machine(project, caller, machine):
            raise NotFound(f"there is no machine {names.shown(args.name)} of yours", HINT)

    async def tell(bound: Enrolment) -> None:
        if bound.project == project.id:
            await last_word(project, bound.agent, CUT_OFF)

    agents = await project.authority.revoke_machine(args.name, tell)
    project.crowd.touch_all()
    for bound in agents:
        if bound.project == project.id:
            project.presence.left(bound.agent, project.clock.monotonic())
            await hand_back(project, bound.agent, CUT_OFF)
    return MachineRevoked(name=args.name, agents=len(agents))


def _reaches_machine(project: Project, caller: Caller, machine: Machine) -> bool:
    """Return whether all that the agents of `machine` may do is in projects of the caller's."""
    if not caller.projects:
        return True
    grants = project.authority.grants_of_user(machine.user)
    return bool(grants) and all(caller.reaches(grant.projects) for grant in grants)


def _check_launch(args: Invite, projects: tuple[str, ...]) -> None:
    """Raises: InvalidArgument if one launched agent cannot be invited so."""
    names.subject_token(args.launch, "launch")
    if len(projects) != 1:
        raise InvalidArgument("an agent is launched into one project", "name one of projects")
    if args.role is not Role.AGENT:
        raise InvalidArgument(f"a launched agent is no {args.role}", "leave out role")
