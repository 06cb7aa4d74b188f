"""What other projects' leaders ask this one's. Here, and nowhere else, it is decided what they see and deliver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.fabric.hub.abroad import receipts
from loominal.fabric.hub.abroad.directory import Place
from loominal.fabric.hub.abroad.naming import handle_abroad
from loominal.fabric.hub.abroad.publishing import is_public
from loominal.fabric.hub.abroad.questions import KINDS, Look, Looked, See, Seen, Take, Taken, Tell, What
from loominal.fabric.hub.agents.listing import page
from loominal.fabric.hub.agents.registry import Facet
from loominal.fabric.hub.agents.views import agent_view, status_of
from loominal.fabric.hub.agents.visibility import nobody
from loominal.fabric.hub.talk.ops_inbox import deliver, make_room
from loominal.fabric.hub.talk.posting import checked_type, sender_in
from loominal.fabric.operations.inbox import Recipient, SendDirectMessage
from loominal.fabric.protocol import PROTO, PROTO_MIN, Answer, arguments, encode
from loominal.model.errors import Busy, Internal, InvalidArgument, LoominalError, NotFound, UpgradeNeeded
from loominal.model.grant import Visibility
from loominal.model.message import Kind, Message, MessageId, message_id
from loominal.model.names import shown

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project
    from loominal.model.agent import AgentRecord

IN_FLIGHT = 200  # questions at once, of all other projects together

log = logging.getLogger(__name__)


Taker = Callable[[Received], None]


@asynccontextmanager
async def answered(project: Project, group: asyncio.TaskGroup, before: Callable[[Taker], Taker]) -> AsyncIterator[None]:
    """Answer other projects while the block runs; `before` stands before whatever takes a message."""
    if project.abroad is None:
        yield
        return
    broker = project.abroad.broker
    visits = Visits(project, broker, group)
    listening = await broker.subscribe(subjects.from_abroad(project.id), before(visits.receive))
    try:
        yield
    finally:
        await listening.stop()


class Visits:
    """Answers the questions of other projects, each in its own task of `group`."""

    def __init__(self, project: Project, broker: Broker, group: asyncio.TaskGroup) -> None:
        self._project = project
        self._broker = broker
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, message: Received) -> None:
        """Take one question off the wire."""
        task = self._group.create_task(self._take(message), name=f"visit in {self._project.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, message: Received) -> None:
        # gathered, so that a bug met by one question is logged and answered, and ends no other
        [outcome] = await asyncio.gather(self._answer(message), return_exceptions=True)
        if isinstance(outcome, LoominalError):
            answer = Answer(proto=PROTO, error=outcome.problem())
        elif isinstance(outcome, BaseException):
            log.error("a question of another project to %s failed", self._project.id, exc_info=outcome)
            answer = Answer(proto=PROTO, error=Internal("it failed inside the other project's hub").problem())
        else:
            answer = Answer(proto=PROTO, ok=msgspec.Raw(encode(outcome)))
        if not message.reply.startswith(subjects.reply_prefix(subjects.WEFT) + "."):
            return  # nobody waits for it, or (open mode) somebody who is no hub
        try:
            await self._broker.publish(message.reply, encode(answer))
        except LoominalError as error:
            log.info("a question of another project could not be answered: %s", error)  # it asks again

    async def _answer(self, message: Received) -> Seen | Looked | Taken | None:
        if len(self._tasks) > IN_FLIGHT:
            raise Busy("other projects ask too much of this one at once")
        what = subjects.last_token(message.subject)
        if what not in KINDS:
            raise InvalidArgument(f"there is no question {shown(what)}", "its coordinator may be of a newer release")
        question = arguments(KINDS[What(what)], message.data)
        if not PROTO_MIN <= question.proto <= PROTO:
            raise UpgradeNeeded("the coordinators of the two projects speak different protocols", "upgrade the older")
        if not self._project.policy.takes_part:
            raise NotFound("there is no such agent")
        match question:
            case See():
                return _seen(self._project, question)
            case Look():
                return _looked(self._project, question)
            case Take():
                return await _taken(self._project, question)
            case Tell():
                receipts.take(self._project, question)
        return None


def _seen(project: Project, see: See) -> Seen:
    record = _public(project, see.text)
    if record is None:
        return Seen()
    view = agent_view(project, record, metadata_bytes=see.metadata_bytes)
    return Seen(agent=msgspec.structs.replace(view, current_work=()))  # ids of work are the project's own


def _looked(project: Project, look: Look) -> Looked:
    only = {Facet.VISIBILITY: str(Visibility.PUBLIC)}
    found = page(project, look.filters, is_public, look.after, look.limit_bytes, beside=only)
    agents = tuple(msgspec.structs.replace(view, current_work=()) for view in found.agents)
    return Looked(agents=agents, total=found.total, more=found.more)


async def _taken(project: Project, take: Take) -> Taken:
    """Put the message into the inbox, as if it came from here. Raises: as `send_direct_message`."""
    recipient = _public(project, take.text.partition("@")[0])
    if recipient is None:
        raise nobody(take.text)
    args = arguments(SendDirectMessage, take.message)
    message_type = checked_type(args.message_type)
    if project.inboxes.intake.sent(take.dedupe) is None:
        project.fullness.check("direct")
        await _check_reply(project, take, args.reply_to)
        await make_room(project, recipient)
    home = Place(project=take.asker, title=take.title)
    handle, _, name = handle_abroad(project, take.sender.handle, home).partition("@")
    message = Message(
        sender=msgspec.structs.replace(take.sender, handle=handle, project=name, home=take.asker),
        text=args.message,
        message_type=message_type,
        reply_to=args.reply_to or "",
        importance=args.importance,
        metadata=args.metadata,
        ack_required=args.ack_required,
    )
    sequence = await deliver(project, recipient.id, message, take.dedupe)
    return Taken(
        id=str(MessageId(Kind.DIRECT, project.generation, sequence)),
        recipient=Recipient(guid=recipient.id, handle=recipient.handle, status=status_of(project, recipient)),
    )


async def _check_reply(project: Project, take: Take, text: str | None) -> None:
    """Refuse a reply to what the sender neither got at home nor sent here itself. Raises: NotFound."""
    if not text or take.reply_is_known:
        return
    place = message_id(text, project.generation)
    if place.kind is not Kind.DIRECT or await sender_in(project, place.sequence) != take.sender.guid:
        raise NotFound(f"there is no message {shown(text)} to reply to", "use an id as a read or a send returned it")


def _public(project: Project, text: str) -> AgentRecord | None:
    record = project.agents.find(text, ())
    return record if is_public(record) else None
