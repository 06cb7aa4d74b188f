"""Lets an invited machine or agent in, once: spends the invitation, stores machine and grant. Enrolment calls it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from loominal.broker.keyring import Keyring
from loominal.broker.nkeys import Kind, public_key
from loominal.fabric.enrolment import Enrol
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.fabric.hub.access.fabric_records import Invitation, Machine
from loominal.fabric.invitation import Admitted, Join
from loominal.model.errors import Forbidden, NotFound
from loominal.model.grant import Grant
from loominal.model.names import handle_like

HOST_CHARACTERS = 40
MARK_CHARACTERS = 8  # of the invitation's id, in the machine's name
GRANTED = "join_"  # before the id of the invitation whose grant it is

log = logging.getLogger(__name__)


async def admit(registry: FabricRegistry, keyring: Keyring, invitation_id: str, asked: Join) -> Admitted:
    """Return what lets a machine enrol agents: the first key that comes is let in, and always gets the same answer.

    A machine that joined before with that key keeps its name and user; the new grant replaces the old one.
    Raises: NotFound if the invitation is over or unknown, Forbidden if another key spent it or this one was cut off.
    """
    key = public_key(asked.key, Kind.USER)
    known = next((machine for machine in registry.machines() if machine.key == key), None)
    if known is not None and known.revoked_at is not None:
        raise Forbidden(
            f"machine {known.name} was cut off from this fabric",
            "with an invitation made since, `loominal join` lets this home in again, as a new machine",
        )
    now = datetime.now(UTC)
    name = known.name if known else f"{handle_like(asked.hostname)[:HOST_CHARACTERS]}-{invitation_id[:MARK_CHARACTERS]}"
    spent = await registry.change(
        f"invitation.{invitation_id}", Invitation, lambda it: _spent(it, key=key, machine=name, now=now)
    )
    if spent is None:
        raise NotFound("the fabric does not know this invitation", "ask for another one: `loominal invite`")
    if spent.spent_by != key:
        log.warning("invitation %s, which let %s in, was shown by another machine: refused", spent.id, spent.machine)
        raise Forbidden(
            f"this invitation has let another machine in ({spent.machine}); the fabric's log has this refusal",
            "if that was not you, have it cut off (`loominal machines --revoke`); ask for another invitation",
        )
    machine = await _let_in(registry, spent, user=f"{handle_like(asked.user)}@{spent.machine}", key=spent.spent_by)
    return Admitted(jwt=keyring.machine_jwt(machine.name, machine.key), machine=machine.name, user=machine.user)


async def admit_agent(registry: FabricRegistry, invitation: Invitation, asked: Enrol) -> Machine:
    """Return the machine as which an invited agent enrols: the first key that comes is let in, and is ever again.

    Its credential stays the invitation's, which is worth nothing without that key. Raises: NotFound if the invitation
    is over, Forbidden if another key spent it or it is for another agent.
    """
    if asked.agent != invitation.agent:
        raise Forbidden(f"this enrolment is for agent {invitation.agent} alone", "each launch has one of its own")
    name, now = invitation.user_name, datetime.now(UTC)
    spent = await registry.change(
        f"invitation.{invitation.id}", Invitation, lambda it: _spent(it, key=asked.key, machine=name, now=now)
    )
    if spent is None or spent.spent_by != asked.key:
        log.warning("the enrolment of launch %s was shown by another key: refused", invitation.launch)
        raise Forbidden(
            f"another process has used the enrolment of launch {invitation.launch}; the fabric's log has this refusal",
            "it starts one agent, once: launch again",
        )
    return await _let_in(registry, spent, user=f"{handle_like(spent.by)}@{name}", key=spent.key)


def _spent(invitation: Invitation, *, key: str, machine: str, now: datetime) -> Invitation:
    """Return the invitation after a key was shown with it. Raises: NotFound if it is over or was taken back."""
    if invitation.revoked_at is not None:
        raise NotFound("it was taken back", "whoever gave it can give another one")
    if invitation.spent_by == key:
        return invitation
    if invitation.spent_by:
        return msgspec.structs.replace(invitation, refused_at=now)
    if now >= invitation.expires_at:
        what, hint = ("invitation", "ask for another one: `loominal invite --expires 1h`")
        if invitation.agent:
            what, hint = ("enrolment", "launch again; it started too late")
        raise NotFound(f"this {what} ended at {invitation.expires_at:%Y-%m-%d %H:%M} UTC", hint)
    return msgspec.structs.replace(invitation, spent_by=key, spent_at=now, machine=machine)


async def _let_in(registry: FabricRegistry, spent: Invitation, *, user: str, key: str) -> Machine:
    """Store what a spent invitation brings, and return the machine; `key` is its JWT's.

    That is repeated until the machine's record, the last to be written, names the invitation, and never after: a grant
    that was taken back since stays so.
    """
    wanted = Machine(
        name=spent.machine, user=user, key=key, role=spent.role, created_at=spent.spent_at or spent.created_at
    )
    await registry.add_machine(wanted)
    machine = registry.machine(wanted.name) or wanted
    if machine.let_in_by == spent.id:
        return machine
    await registry.grant(
        Grant(
            id=GRANTED + spent.id,
            user=machine.user,
            machine=machine.name,
            role=spent.role,
            projects=spent.projects,
            agent_types=spent.agent_types,
            boundaries=spent.boundaries,
            every_boundary=not spent.boundaries,
            capabilities=spent.capabilities,
            granted_at=spent.spent_at,
            by=spent.by,
        )
    )
    for earlier in registry.grants_of_machine(machine.name):
        if earlier.id.startswith(GRANTED) and earlier.id != GRANTED + spent.id:
            await registry.revoke_grant(earlier.id)
    stored = await registry.change(
        f"machine.{wanted.name}",
        Machine,
        lambda it: msgspec.structs.replace(it, role=spent.role, let_in_by=spent.id),
    )
    return stored or machine
