"""An agent of the fabric as a program holds it: every operation as a method, with its claims kept alive behind it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.fabric.client.calls import EveryCall
from loominal.fabric.client.session import Session
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.client.unanswered import Unanswered
from loominal.fabric.ended import ended
from loominal.fabric.operations import OPERATIONS, Operation
from loominal.fabric.operations.events import Events, WaitForEvents
from loominal.fabric.operations.identity import HandleSet, Join, Joined, MyHandle
from loominal.fabric.operations.inbox import FollowInbox, Inbox, ReadDirectMessages
from loominal.fabric.operations.registry import Deregistered, RegisterAgent, Registered
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.operations.work import (
    AbandonClaim,
    Claimed,
    ClaimWork,
    CompleteWork,
    FailWork,
    Followed,
    FollowWork,
    GetWork,
    ProgressReported,
    ReleaseWork,
    ReportProgress,
    WorkDetail,
)
from loominal.fabric.project_id import ProjectName
from loominal.fabric.protocol import POLL_SECONDS, REQUESTS_IN_FLIGHT, Control, ControlKind, arguments, encode
from loominal.fabric.slots import Slot
from loominal.model.errors import (
    BrokerUnavailable,
    HubUnavailable,
    InvalidArgument,
    LeaseLost,
    LoominalError,
    NotRegistered,
)
from loominal.model.names import meant
from loominal.model.work import ENDED

ABANDON_SECONDS = 2.0  # for saying that a claim was cancelled; unsaid, heartbeats say it within 15 s
EARLY_SECONDS = 1.0  # a hub that answers a wait so long before its end has nothing to wait for

_Ending: TypeAlias = CompleteWork | FailWork | ReleaseWork
_UnderLease: TypeAlias = CompleteWork | FailWork | ReleaseWork | ReportProgress
_Waiting: TypeAlias = ClaimWork | FollowInbox | FollowWork | GetWork | ReadDirectMessages | WaitForEvents


class Agent(EveryCall):
    """One agent, made by `connect`. Its claims are renewed by heartbeats for as long as the `async with` block runs."""

    def __init__(self, session: Session, slot: Slot, settings: ClientSettings) -> None:
        self.guid = slot.id
        self.project: ProjectName = settings.project
        self.draining = False  # the hub wants this process to end once its claims have
        self.ends_at: datetime | None = None  # when a draining agent is cut off
        self.ended: LoominalError | None = None  # an operator has ended this agent: every call raises this
        self._session = session
        self._slot = slot
        self._settings = settings
        self._registration: RegisterAgent | Join | None = None
        self._unanswered = Unanswered()
        self._in_flight = asyncio.Semaphore(REQUESTS_IN_FLIGHT)
        self._alone = {"claim_work": asyncio.Lock(), "wait_for_events": asyncio.Lock()}
        self._on_control: list[Callable[[Control], None]] = []
        self._on_mail: list[Callable[[], None]] = []
        session.on_new_life = self._register_again

    @property
    def handle(self) -> str:
        """The handle this agent last had, "" if it never had one."""
        return self._slot.handle

    @property
    def machine(self) -> str:
        """The machine as which this agent enrolled, "" on a broker where nobody does."""
        return self._slot.machine

    @property
    def incarnation(self) -> str:
        """The secret of this process: who knows it may act for it."""
        return self._session.incarnation

    @property
    def holds(self) -> tuple[str, ...]:
        """The ids of the items this agent holds."""
        return tuple(item for item, _ in self._session.holds.pairs())

    @property
    def stalled(self) -> tuple[str, ...]:
        """The ids of held items about which nothing was done for long, by the project's policy."""
        return self._session.holds.stalled

    @property
    def folder(self) -> Path:
        """Where this machine keeps what belongs to the agent."""
        return self._slot.folder

    def touch(self) -> None:
        """Say with the next heartbeat that whoever works on the held items is at it."""
        for item in self.holds:
            self._session.holds.touch(item)

    def cancel_requested(self, work_id: str) -> bool:
        """Return whether a held item was called off: stop, and release or fail it."""
        return self._session.holds.cancel_requested(self._session.holds.item(work_id))

    def lost(self, work_id: str) -> bool:
        """Return whether a claim was lost: stop, for somebody else may be at it."""
        return self._session.holds.lost(self._session.holds.item(work_id))

    def forget_session(self) -> None:
        """Let the client's session be another agent from its next process on."""
        self._slot.keep_for("")

    def on_control(self, callback: Callable[[Control], None]) -> None:
        """Call `callback` with every nudge of the hub, after what the agent knows was brought up to date."""
        self._on_control.append(callback)

    def on_mail(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a direct message comes in. It is a hint: one that comes during a reconnect is missed."""
        self._on_mail.append(callback)

    async def listen(self) -> None:
        """Hear the hub's nudges and of new mail; `connect` calls it once."""
        project, agent = self.project.id, self.guid
        await self._session.broker.subscribe(subjects.control(project, agent), self._nudged)
        await self._session.broker.subscribe(subjects.inbox_wake(project, agent), lambda _: self._mailed())

    async def call(
        self,
        operation: str,
        args: Arguments,
        *,
        timeout_seconds: float | None = None,
        limit_bytes: int | None = None,
        op: str = "",
    ) -> View:
        """Return the answer to any operation; every method comes here.

        It is asked again until there is an answer, for `timeout_seconds` beside what the operation itself waits. `op`
        names the deed (1-64 letters, digits, `_`, `-`): the same one again is done once and answered the same.
        Raises: InvalidArgument before anything is sent; the error that was answered; HubUnavailable, BrokerUnavailable.
        """
        known = OPERATIONS.get(operation)
        if known is None:
            raise InvalidArgument(f"there is no operation {operation!r}", meant(operation, OPERATIONS, "operations"))
        if not isinstance(args, known.arguments):
            raise InvalidArgument(f"{operation} takes {known.arguments.__name__}, not {type(args).__name__}")
        seconds = self._settings.timeout_seconds if timeout_seconds is None else timeout_seconds
        limit = self._settings.limit_bytes if limit_bytes is None else limit_bytes
        if isinstance(args, _Waiting):
            return await self._wait(known, args, op, seconds, limit)
        return await self._deed(known, args, op, seconds, limit)

    async def _wait(self, operation: Operation, args: _Waiting, op: str, seconds: float, limit: int) -> View:
        """Ask in polls of at most POLL_SECONDS, each a deed of its own, until there is something or time is over."""
        began, drained = time.monotonic(), self.draining
        until = began + args.wait_seconds
        while True:
            async with self._alone.get(operation.name, nullcontext()):  # the time that others hold it is waited, too
                asked = time.monotonic()
                hold = min(max(until - asked, 0), POLL_SECONDS)
                part = msgspec.structs.replace(args, wait_seconds=hold)
                op = op or self._session.new_op(operation)
                try:
                    view = await self._deed(operation, part, op, seconds, limit, hold)
                except asyncio.CancelledError:
                    if isinstance(args, ClaimWork):
                        await self._abandon(op)
                    raise
            now = time.monotonic()
            in_vain = self.draining and (isinstance(args, ClaimWork) or not drained)
            if _settled(view) or now >= until or now < asked + hold - EARLY_SECONDS or in_vain:
                break
            if isinstance(view, Events):
                args = msgspec.structs.replace(args, cursor=view.cursor)
            elif isinstance(view, Followed):
                args = msgspec.structs.replace(args, after=view.cursor)
            op = ""
        if isinstance(view, Events):
            return msgspec.structs.replace(view, waited_seconds=round(now - began, 3))
        return view

    async def _abandon(self, claim_op: str) -> None:
        """Tell the hub that nobody waits for a claim any more, so that it takes nothing."""
        with suppress(LoominalError):
            await self.call("abandon_claim", AbandonClaim(op=claim_op), timeout_seconds=ABANDON_SECONDS)

    async def _deed(
        self, operation: Operation, args: Arguments, op: str, seconds: float, limit: int, hold: float = 0.0
    ) -> View:
        lease_token = 0
        if isinstance(args, _UnderLease):
            args = msgspec.structs.replace(args, work_id=self._session.holds.item(args.work_id))
            lease_token = self._session.holds.lease_token(args.work_id)
        data = encode(args)
        arguments(operation.arguments, data)  # what the hub would refuse is refused here
        ends = ""
        if isinstance(args, _Ending):
            ends = args.work_id
            op = op or _ending_op(operation.name, ends, lease_token, data)
        op = op or self._unanswered.take(operation, args) or self._session.new_op(operation)
        life = self._generation
        while True:
            try:
                alone = operation.name in self._alone  # then `_wait` sees to it
                async with nullcontext() if alone else self._in_flight, self._session.holds.ending(ends):
                    view = await self._session.ask(
                        operation,
                        data,
                        op=op,
                        seconds=seconds,
                        hold_seconds=hold,
                        lease_token=lease_token,
                        limit_bytes=limit,
                    )
            except NotRegistered:
                await self._session.greet(seconds)
                if self._generation == life or self._registration is None:
                    raise
                life = self._generation  # the project was made anew, and the hello has registered this agent again
                continue
            except (BrokerUnavailable, HubUnavailable, asyncio.CancelledError):
                self._unanswered.keep(operation, args, op)
                raise
            except LeaseLost:
                if isinstance(args, _UnderLease):
                    self._session.holds.lose(args.work_id, lease_token)
                raise
            self._unanswered.forget(op)
            self._learn(args, view)
            return view

    @property
    def _generation(self) -> str:
        return self._session.welcome.generation if self._session.welcome else ""

    def _learn(self, args: Arguments, view: View) -> None:
        """Keep what an answer tells about this agent: its claims, its handle, its registration."""
        holds = self._session.holds
        match args, view:
            case _, Claimed(work=items) if items:
                holds.take(items)
            case Join(), Joined(agent=me, claims=claims):
                holds.take(claims)
                self._registration = args
                self._slot.remember_handle(me.handle)
            case RegisterAgent(), Registered(handle=handle):
                self._registration = args
                self._slot.remember_handle(handle)
            case _, HandleSet(handle=handle) | MyHandle(handle=handle):
                self._slot.remember_handle(handle)
            case ReportProgress(work_id=item), ProgressReported(cancel_requested=cancelled):
                holds.touch(item)
                if cancelled:
                    holds.ask_cancel(item)
            case CompleteWork(work_id=item) | FailWork(work_id=item) | ReleaseWork(work_id=item), _:
                holds.end(item)
            case _, WorkDetail(id=item, cancel_requested=True):
                holds.ask_cancel(item)
            case _, Deregistered():
                holds.drop()
                self._registration = None

    async def _register_again(self) -> None:
        if isinstance(self._registration, RegisterAgent):
            await self.call("register_agent", self._registration)
        elif self._registration is not None:
            await self.call("join", self._registration)

    def _nudged(self, received: Received) -> None:
        try:
            control = msgspec.json.decode(received.data, type=Control)
        except msgspec.DecodeError:
            return  # of a later version
        if control.incarnation not in ("", self.incarnation):
            return  # meant for the process that was this agent before
        holds = self._session.holds
        match control.kind:
            case ControlKind.LEASE_LOST if holds.is_ending(control.item):
                return  # perhaps by this very end, whose answer will tell
            case ControlKind.CANCEL:
                holds.ask_cancel(control.item)
            case ControlKind.STALLED:
                holds.stall(control.item)
            case ControlKind.LEASE_LOST:
                holds.lose(control.item, control.lease_token)
            case ControlKind.DRAIN if self.draining:
                return  # told again, lest it had not been heard
            case ControlKind.DRAIN:
                self.draining, self.ends_at = True, control.until
            case ControlKind.SUPERSEDED:
                holds.drop()
                self._session.end()
            case ControlKind.REVOKED:
                self.draining, self.ended = True, ended(control.note)
                holds.drop()
                self._session.end(self.ended)
        for callback in self._on_control:
            callback(control)

    def _mailed(self) -> None:
        for callback in self._on_mail:
            callback()


def _settled(view: View) -> bool:
    """Return whether a waiting operation has found what it waits for."""
    match view:
        case Claimed(work=found) | Inbox(messages=found) | Events(events=found) | Followed(items=found):
            return bool(found)
        case WorkDetail(status=status):
            return status in ENDED
    return True


def _ending_op(verb: str, item: str, lease_token: int, data: bytes) -> str:
    """Return the op of an ending: the same ending of the same claim again is the same deed."""
    digest = hashlib.sha256(b"\0".join((verb.encode(), item.encode(), str(lease_token).encode(), data)))
    return digest.hexdigest()[:32]
