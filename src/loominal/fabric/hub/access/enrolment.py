"""Answers `rq.enrol.<machine>`: gives an agent's own key a JWT for one project, for a day. Weft runs one per fabric."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.broker.keyring import Keyring
from loominal.broker.nkeys import Kind, public_key
from loominal.fabric.enrolment import CREDENTIAL_SECONDS, Enrol, Enrolled
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.fabric.hub.access.fabric_records import INVITED, Enrolment, Invitation, title_of
from loominal.fabric.hub.access.joining import admit, admit_agent
from loominal.fabric.invitation import Admitted, Join
from loominal.fabric.protocol import PROTO, PROTO_MIN, Answer, arguments, encode, encode_answer
from loominal.model.errors import Busy, Forbidden, Internal, InvalidArgument, LoominalError, NotFound, UpgradeNeeded
from loominal.model.names import API, project_name, shown, subject_token

IN_FLIGHT = 50  # enrolments at once; each is a few writes and, for a new project, an account
OF_ONE_MACHINE = 20  # of them: one that floods leaves room for the others

log = logging.getLogger(__name__)


class Enrolments:
    """Enrols agents, each request in its own task; `opened` is told of every project that somebody enrolled in."""

    def __init__(
        self, broker: Broker, registry: FabricRegistry, keyring: Keyring, opened: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._keyring = keyring
        self._opened = opened
        self._pushed: set[str] = set()  # projects whose account the broker took since we connected to it
        self._tasks: dict[asyncio.Task[None], str] = {}  # in flight -> machine

    async def serve(self) -> None:
        """Answer enrolments until cancelled, then what is in flight."""
        async with asyncio.TaskGroup() as group:
            off = self._broker.on_connect(self._pushed.clear)  # another broker may be there now
            listening = await self._broker.subscribe(
                subjects.enrolments(), lambda message: self._receive(message, group), queue=subjects.QUEUE
            )
            try:
                await asyncio.Event().wait()
            finally:
                off()
                await listening.stop()

    def _receive(self, message: Received, group: asyncio.TaskGroup) -> None:
        machine = subjects.last_token(message.subject)
        if not _own_reply(message.reply, machine):
            log.warning("enrolment of %s with a foreign reply subject ignored", shown(machine))
            return
        own = sum(each == machine for each in self._tasks.values())
        busy = len(self._tasks) >= IN_FLIGHT or own >= OF_ONE_MACHINE
        task = group.create_task(self._take(machine, message, busy=busy), name=f"enrolment by {machine}")
        if not busy:
            self._tasks[task] = machine
            task.add_done_callback(lambda done: self._tasks.pop(done))

    async def _take(self, machine: str, message: Received, *, busy: bool) -> None:
        # gathered, so that a bug met by one request is logged and answered, and ends no other
        [outcome] = await asyncio.gather(self._answer(machine, message.data, busy=busy), return_exceptions=True)
        if isinstance(outcome, LoominalError):
            log.info("enrolment by %s refused: %s", machine, outcome)
            answer = Answer(proto=PROTO, error=outcome.problem())
        elif isinstance(outcome, BaseException):
            log.error("enrolment by %s failed", machine, exc_info=outcome)
            answer = Answer(proto=PROTO, error=Internal("enrolment failed inside weft", "see weft's log").problem())
        else:
            answer = Answer(proto=PROTO, ok=msgspec.Raw(encode_answer(outcome)))
        try:
            await self._broker.publish(message.reply, encode(answer))
        except LoominalError as error:
            log.info("an enrolment's answer could not be sent: %s", error)  # the asker repeats

    async def _answer(self, machine: str, data: bytes, *, busy: bool) -> Enrolled | Admitted:
        if busy:
            raise Busy(
                f"too many enrolments are in flight ({OF_ONE_MACHINE} of one machine)", "it is repeated by itself"
            )
        invitation: Invitation | None = None
        if machine.startswith(INVITED):
            invitation = await self._registry.find_invitation(machine.removeprefix(INVITED))
            if invitation is None or not invitation.agent:
                join = arguments(Join, data)
                _check_proto(join.proto)
                return await admit(self._registry, self._keyring, machine.removeprefix(INVITED), join)
        asked = _checked(arguments(Enrol, data))
        if invitation is None:
            if self._registry.machine(machine) is None:
                await self._registry.catch_up()  # it may have joined by another weft just now
            known, launch = self._registry.machine(machine), ""
        else:
            known, launch = await admit_agent(self._registry, invitation, asked), invitation.launch
        if known is None or known.revoked_at is not None:
            raise Forbidden(f"machine {machine} may not enrol agents", "an operator can invite it again")
        if asked.looks:
            await self._check_is_there(asked.project)
        now = datetime.now(UTC)
        bound = await self._registry.enrol(
            Enrolment(
                agent=asked.agent,
                key=asked.key,
                machine=machine,
                user=known.user,
                project=asked.project,
                launch=launch,
                role=asked.role,
                enrolled_at=now,
            )
        )
        await self._registry.add_project(bound.project, title_of(asked.title, bound.project), now)
        await self._open(bound.project)
        if bound.cut_at is not None:  # the broker takes nothing that was issued up to that whole second
            await asyncio.sleep(min(max(int(bound.cut_at.timestamp()) + 1 - time.time(), 0.0), 1.0))
        expires_at = now + timedelta(seconds=CREDENTIAL_SECONDS)
        return Enrolled(
            jwt=self._keyring.agent_jwt(bound.project, bound.agent, bound.key, expires_at),
            project=bound.project,
            expires_at=expires_at,
            account=self._keyring.project_public(bound.project),
        )

    async def _check_is_there(self, project: str) -> None:
        """Raises: NotFound if nobody has made that project yet."""
        if self._registry.project(project) is None:
            await self._registry.catch_up()  # another weft may have made it just now
        if project not in self._registry.project_ids():
            raise NotFound(f"there is no project {shown(project)}", "`shuttle projects` lists them")

    async def _open(self, project: str) -> None:
        """Return when the broker knows the project's account, so that the agent's next step finds it."""
        if project not in self._pushed:
            await self._registry.push_account(project)
            self._pushed.add(project)
        self._opened(project)


def _checked(asked: Enrol) -> Enrol:
    """Return a request whose every field is what it must be. Raises: InvalidArgument, UpgradeNeeded."""
    _check_proto(asked.proto)
    if asked.agent.startswith(API):
        raise Forbidden("agent ids of this form are those of bearer tokens: nobody enrols as one")
    try:
        canonical = str(uuid.UUID(subject_token(asked.agent, "agent")))
    except ValueError:
        canonical = ""
    if asked.agent != canonical:
        raise InvalidArgument(f"agent id {shown(asked.agent)} is no UUID in lower case with hyphens")
    public_key(asked.key, Kind.USER)
    project_name(asked.project)
    return asked


def _check_proto(proto: int) -> None:
    """Raises: UpgradeNeeded for a protocol of another time."""
    if not PROTO_MIN <= proto <= PROTO:
        side = "the agent's" if proto < PROTO_MIN else "the coordinator's"
        raise UpgradeNeeded(
            f"the agent speaks protocol {proto}, the coordinator {PROTO_MIN} to {PROTO}",
            f"upgrade {side} Loominal (`pip install -U loominal`) and restart it",
        )


def _own_reply(reply: str, machine: str) -> bool:
    return reply.startswith(subjects.reply_prefix(machine) + ".") and not any(mark in reply for mark in "*> \t\r\n")
