"""The hub of one project: takes requests and heartbeats, answers each once, and never trusts a payload for who asks."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.fabric.ended import ended
from loominal.fabric.enrolment import ENROL_AGAIN
from loominal.fabric.hub.about import about
from loominal.fabric.hub.access.open_authority import OPEN_HINT
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Handler, Project
from loominal.fabric.operations import OPERATIONS, Operation
from loominal.fabric.operations.types import Arguments
from loominal.fabric.protocol import (
    PROTO,
    REQUESTS_IN_FLIGHT,
    Answer,
    Request,
    arguments,
    decode_request,
    encode,
    encode_answer,
)
from loominal.model.errors import (
    Busy,
    Forbidden,
    HubUnavailable,
    Internal,
    InvalidArgument,
    LoominalError,
    NotRegistered,
    Problem,
    TooLarge,
    error_from,
)
from loominal.model.grant import Role, reach
from loominal.model.names import SUBJECT_TOKEN, api_role, meant, shown

log = logging.getLogger(__name__)

ENDINGS = frozenset({"complete_work", "fail_work", "release_work", "report_progress"})  # the lease token decides
POLL = "claim_work"
OK, UNKNOWN = "ok", "unknown"  # as codes and operations are counted
OPERATORS_MACHINE = "run it where the fabric runs, or join with an invitation for it: `loominal invite --role operator`"
OPERATORS_TOKEN = "a bearer token of role operator may: `weft token create --role operator`"
ANSWERS_KEPT = 500  # of the newest deeds and polls; the logs know older ones, these also know what "before" was
ANSWER_KEPT_BYTES = 4096
TAKEN = b"{}"  # kept of a poll: that it was answered
REPLIES_KEPT = 4  # of one deed in flight: who asks again does not wait for its older questions' answers
ANSWER_ROOM = 16_384  # bytes of a message kept free for what surrounds an answer


class Dispatcher:
    """Answers the requests of one project with `handlers`, each in its own task of `group`; others with `refusal`."""

    def __init__(
        self,
        project: Project,
        handlers: Mapping[str, Handler],
        group: asyncio.TaskGroup,
        refusal: Problem | None = None,
    ) -> None:
        self._project = project
        self._refusal = refusal
        self._handlers = handlers
        self._group = group
        self._running: dict[tuple[str, str], _Running] = {}  # by agent and op
        self._answers = _Answers()
        self._waited = _Answers()  # apart, so that idle polls push no deed out
        self._in_flight: defaultdict[str, int] = defaultdict(int)
        self._polling: set[str] = set()
        self._tasks: dict[asyncio.Task[None], str] = {}  # each answers a request for that operation

    def receive(self, message: Received) -> None:
        """Take one request off the wire; a reply subject that is not the asker's own inbox is never answered."""
        _, _, operation, agent = message.subject.split(".")
        if not _own_reply(message.reply, agent):
            log.warning("request of %s with a foreign reply subject ignored", shown(agent))
            return
        task = self._group.create_task(self._take(operation, agent, message), name=f"{operation} {agent}")
        self._tasks[task] = operation
        task.add_done_callback(self._tasks.pop)

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight."""
        return not self._tasks

    async def finish(self, seconds: float) -> None:
        """Answer what is in flight, for at most `seconds`; what waits is dropped, for the next leader is asked again.

        Nothing may be received any more.
        """
        for task, operation in list(self._tasks.items()):
            if operation in OPERATIONS and OPERATIONS[operation].waits:
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)

    async def _take(self, operation: str, agent: str, message: Received) -> None:
        try:
            request = decode_request(message.data)
            known = self._operation(operation)
        except LoominalError as error:
            await self._refuse(operation, message, error)
            return
        about(project=self._project.id, agent=agent, operation=known.name)
        key = (agent, request.op)
        while running := self._running.get(key):
            if running.is_same(known, request):  # asked again while it runs: one deed, both are answered
                running.replies.append(message.reply)
                del running.replies[:-REPLIES_KEPT]
                return
            await running.give_way()
        if self._too_many(known.name, agent):
            await self._refuse(operation, message, Busy(f"{agent} has too many requests in flight"))
            return
        began = time.monotonic()
        running = self._running[key] = _Running(known, request, message.reply)
        self._count(known.name, agent, +1)
        try:
            code, answer = await self._answer(known, agent, request)
        finally:
            del self._running[key]
            self._count(known.name, agent, -1)
            running.over.set()
        self._project.tally.weft.answered(known.name, code, time.monotonic() - began)
        await self._reply(running.replies, answer)

    async def _refuse(self, operation: str, message: Received, error: LoominalError) -> None:
        """Answer a request that is not carried out."""
        self._project.tally.weft.answered(operation if operation in OPERATIONS else UNKNOWN, error.code, 0.0)
        await self._reply([message.reply], _failed(error))

    async def _answer(self, operation: Operation, agent: str, request: Request) -> tuple[str, bytes]:
        """Return the code of the answer, and the answer."""
        try:
            caller = await self._caller(agent, request)
            self._admit(operation, caller)
            key = (operation.name, agent, request.op, hashlib.sha256(request.args).digest())
            if known := self._answers.get(key) or self._waited.get(key):
                if operation.name != POLL:
                    return OK, known
                caller = msgspec.structs.replace(caller, again=True)  # what it took may have gone back since
            args = arguments(operation.arguments, request.args)
            about(work=_work_named(args))
            view = await self._handlers[operation.name](self._project, caller, args)
            if caller.over_rest and not operation.reads:
                self._project.presence.stir()
            ok = encode_answer(view)
            if len(ok) > self._room():
                raise TooLarge(f"the answer has {len(ok)} bytes, the broker carries {self._room()}", "ask for less")
            answer = encode(Answer(proto=PROTO, ok=msgspec.Raw(ok)))
            if not operation.reads:
                kept = answer if operation.name != POLL else TAKEN
                (self._waited if operation.waits else self._answers).keep(key, kept)
            return OK, answer
        except LoominalError as error:
            return error.code, _failed(error)
        except Exception:  # the last line of defence: one bad request must not end the project for everybody
            log.exception("operation %s of %s failed", operation.name, agent)
            failure = Internal(f"{operation.name} failed inside the hub", "the coordinator's log has the details")
            return failure.code, _failed(failure)

    def _operation(self, name: str) -> Operation:
        if name in OPERATIONS and name not in self._handlers and self._refusal is not None:
            raise error_from(self._refusal)
        if name not in self._handlers:
            raise InvalidArgument(f"there is no operation {shown(name)}", meant(name, OPERATIONS, "operations"))
        return OPERATIONS[name]

    async def _caller(self, agent: str, request: Request) -> Caller:
        if not SUBJECT_TOKEN.fullmatch(request.op) or not SUBJECT_TOKEN.fullmatch(request.incarnation):
            raise InvalidArgument("op and incarnation must be 1-64 letters, digits, '_' or '-'", "give each a UUID")
        about(op=request.op)
        authority = self._project.authority
        if (standing := authority.standing(self._project.id, agent)) is None:
            await authority.catch_up()  # another weft may have enrolled it just now
            standing = authority.standing(self._project.id, agent)
        if standing is None:
            raise Forbidden(f"{agent} is not enrolled in this project", ENROL_AGAIN)
        now = self._project.clock.now()
        return Caller(
            agent=agent,
            incarnation=request.incarnation,
            op=request.op,
            standing=standing,
            lease_token=request.lease_token,
            answered=request.answered,
            limit_bytes=min(request.limit_bytes or self._room(), self._room()),
            projects=request.projects if api_role(agent) else reach(standing.grants, project=self._project.id, now=now),
        )

    def _admit(self, operation: Operation, caller: Caller) -> None:
        """Refuse what the caller's role, registration or age does not allow."""
        project, role = self._project, caller.standing.role
        if operation.operator and role is not Role.OPERATOR:
            raise Forbidden(f"{operation.name} is for operators", self._who_may(caller))
        if role is Role.OBSERVER and not (operation.reads or operation.name == "hello"):
            raise Forbidden(f"{operation.name} changes things; an observer may only look", self._who_may(caller))
        if caller.over_rest:
            return
        if (reason := project.presence.ended_because(caller.agent, caller.incarnation)) is not None:
            raise ended(reason)
        elsewhere = operation.name != "hello" and not project.presence.seen(
            caller.agent, caller.incarnation, project.clock.monotonic()
        )
        if elsewhere and operation.name not in ENDINGS:
            raise Forbidden("another process has taken over this agent", "this process should end")
        if operation.registered and not (operation.reads and self._may_look(caller)) and role is not Role.OBSERVER:
            record = project.agents.get(caller.agent)
            if record is None or not record.registered:
                raise NotRegistered(f"{operation.name} needs a registered agent")
        project.inboxes.surface(caller.agent, caller.incarnation, caller.answered)

    def _may_look(self, caller: Caller) -> bool:
        """Return whether the caller may read without being an agent that others see.

        An operator may; in open mode, where nobody is one, whoever says to be a person.
        """
        if self._project.authority.open_mode:
            return self._project.presence.greeting(caller.agent).person
        return caller.standing.role is Role.OPERATOR

    def _who_may(self, caller: Caller) -> str:
        """Return how somebody who is no operator gets done what is for operators."""
        if self._project.authority.open_mode:
            return OPEN_HINT
        return OPERATORS_TOKEN if caller.over_rest else OPERATORS_MACHINE

    def _too_many(self, operation: str, agent: str) -> bool:
        if operation == POLL:
            return agent in self._polling
        return self._in_flight[agent] >= REQUESTS_IN_FLIGHT

    def _count(self, operation: str, agent: str, by: int) -> None:
        if operation == POLL:
            (self._polling.add if by > 0 else self._polling.discard)(agent)
            return
        self._in_flight[agent] += by
        if not self._in_flight[agent]:
            del self._in_flight[agent]

    def _room(self) -> int:
        return self._project.broker.max_payload - ANSWER_ROOM

    async def _reply(self, replies: list[str], answer: bytes) -> None:
        for reply in replies:
            try:
                await self._project.broker.publish(reply, answer)
            except HubUnavailable:
                return
            except LoominalError as error:
                log.info("an answer could not be sent: %s", error)  # the asker repeats; the deed is in the log


class _Running:
    """A request that is being answered, by the task that makes it."""

    def __init__(self, operation: Operation, request: Request, reply: str) -> None:
        self.replies = [reply]
        self.over = asyncio.Event()
        self._operation = operation
        self._request = request
        self._task = asyncio.current_task()

    def is_same(self, operation: Operation, request: Request) -> bool:
        """Return whether `request`, of the same op, asks for the same."""
        return operation is self._operation and request.args == self._request.args

    async def give_way(self) -> None:
        """Return when it is over; a wait is ended, for its asker has given it up.

        A reader that gave up one read names the next one after it, lest a page be lost, and may ask for something else.
        """
        if self._operation.waits and self._task is not None:
            self._task.cancel()
        await self.over.wait()


class _Answers(OrderedDict[tuple[str, str, str, bytes], bytes]):
    """The newest answers by operation, agent, op and what was asked.

    A request that comes once more long after its answer, which the asker has had, must show and claim nothing new:
    nobody would hear of it.
    """

    def keep(self, key: tuple[str, str, str, bytes], answer: bytes) -> None:
        """Keep an answer unless it is long, and forget the oldest."""
        if len(answer) <= ANSWER_KEPT_BYTES:
            self[key] = answer
        if len(self) > ANSWERS_KEPT:
            self.popitem(last=False)


def _failed(error: LoominalError) -> bytes:
    return encode(Answer(proto=PROTO, error=error.problem()))


def _work_named(args: Arguments) -> str:
    """Return the work item that arguments name, if it stands there by an id; "" if not."""
    named = getattr(args, "work_id", "") or getattr(args, "item_id", "")
    return named if isinstance(named, str) and SUBJECT_TOKEN.fullmatch(named) else ""


def _own_reply(reply: str, agent: str) -> bool:
    own = SUBJECT_TOKEN.fullmatch(agent) is not None and reply.startswith(subjects.reply_prefix(agent) + ".")
    return own and not any(mark in reply for mark in "*> \t\r\n")
