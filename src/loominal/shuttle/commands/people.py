"""`shuttle tell`, `shuttle inbox`, `shuttle reply`: a person talks with agents."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click
from msgspec.structs import replace

from loominal.fabric.operations.inbox import DirectSent, Inbox, MessageView
from loominal.fabric.protocol import encode_answer
from loominal.model.agent import AgentStatus
from loominal.model.errors import BadCursor, InvalidArgument, LoominalError
from loominal.model.message import WORK_RESULT, Importance
from loominal.shuttle import completing
from loominal.shuttle.durations import seconds
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.following import asked_again
from loominal.shuttle.json_output import print_line
from loominal.shuttle.messages import QUESTION, show_letter, typed
from loominal.shuttle.options import FleetCommand
from loominal.shuttle.tables import duration

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

PAGE = 100
HOLD_SECONDS = 50.0  # of one wait; it is repeated
RECEIPT_SECONDS = 3.0  # between two looks whether who was asked has seen the question
RECEIPTS = ("receipt",)

WAIT = click.option("--wait", is_flag=True, help="Stay for the answer and print it.")
TIMEOUT = click.option(
    "--timeout", callback=seconds, metavar="DURATION", help="With --wait: give up after so long (90s, 5m), exit 1."
)


class _Since(NamedTuple):
    """What was there before one asked: cursors behind it."""

    inbox: str
    receipts: str


@click.command(
    cls=FleetCommand,
    help="Tell an agent something; it is kept for one that is offline.\n\n"
    'Example: shuttle tell ada "Is the parser done?" --ask --wait',
)
@click.argument("handle", shell_complete=completing.handles)
@click.argument("text", callback=typed)
@click.option("--ask", is_flag=True, help="Say that you want a reply.")
@click.option(
    "--importance", type=click.Choice([str(each) for each in Importance]), default="normal", show_default=True
)
@WAIT
@TIMEOUT
@click.pass_obj
def tell(fleet: Fleet, *, handle: str, text: str, ask: bool, importance: str, wait: bool, timeout: float | None) -> int:
    """Tell an agent; TEXT - is read from stdin."""
    _check(wait=wait, timeout=timeout)
    name, _, project = handle.partition("@")
    if wait and project:  # a person is seen in their own project alone
        raise click.UsageError(
            f"{handle} cannot answer you here, but there: shuttle --project {project} tell {name} … --wait"
        )
    asks = ask or wait

    async def send(agent: Agent) -> int:
        if wait and handle in (agent.handle, agent.guid):
            raise InvalidArgument(
                f"{handle} is you: nobody would answer", "`shuttle agents list` shows who else is there"
            )
        since = await _now(agent) if wait else None
        sent = await agent.send_direct_message(
            handle, text, message_type=QUESTION if asks else "text", ack_required=asks, importance=importance
        )
        return await _sent(fleet, agent, sent, since, timeout)

    return fleet.run(send, acts=True)


@click.command(
    cls=FleetCommand, help='Answer a message of your inbox.\n\nExample: shuttle reply m_d1a2b3c17 "Yes, merge it"'
)
@click.argument("message_id", metavar="ID")
@click.argument("text", callback=typed)
@WAIT
@TIMEOUT
@click.pass_obj
def reply(fleet: Fleet, *, message_id: str, text: str, wait: bool, timeout: float | None) -> int:
    """Reply to it; it is read, and acknowledged if it asked for that. TEXT - is read from stdin."""
    _check(wait=wait, timeout=timeout)

    async def send(agent: Agent) -> int:
        [asked] = (await agent.read_direct_messages(id=message_id)).messages
        if asked.sender.guid == agent.guid:
            raise InvalidArgument(f"{message_id} is your own message", "`shuttle tell` sends another one")
        since = await _now(agent) if wait else None
        sent = await agent.send_direct_message(
            asked.sender.guid,
            text,
            reply_to=message_id,
            message_type=QUESTION if wait else "text",
            ack_required=wait,
        )
        await agent.read_direct_messages(id=message_id, ack=(message_id,))
        return await _sent(fleet, agent, sent, since, timeout)

    return fleet.run(send, acts=True)


@click.command(
    cls=FleetCommand,
    help="Show the messages that you have not read. They count as read once they are printed.\n\n"
    "Example: shuttle inbox --follow",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C; with --json a message a line.")
@click.option("--all", "-a", "everything", is_flag=True, help="The newest of all, also those that you have read.")
@click.option("--limit", "-n", type=click.IntRange(1, PAGE), default=50, show_default=True, help="At most so many.")
@click.pass_obj
def inbox(fleet: Fleet, *, follow: bool, everything: bool, limit: int) -> None:
    """Show it."""

    async def show(agent: Agent) -> None:
        page = await _look(agent, limit, unread_only=not everything)
        if follow:
            await _follow(fleet, agent, page, unread_only=not everything)
            return
        if fleet.wants_json:
            fleet.show_json(page)
        for message in () if fleet.wants_json else page.messages:
            show_letter(message)
        left = await agent.follow_inbox(limit=1, shown=[each.id for each in page.messages])
        if not page.messages:
            fleet.say("no messages" if everything else "no unread messages")
        elif left.unread:
            fleet.say(f"{left.unread} more unread: `shuttle inbox` again")

    fleet.run(show, acts=True)


def _check(*, wait: bool, timeout: float | None) -> None:
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait.")


async def _sent(fleet: Fleet, agent: Agent, sent: DirectSent, since: _Since | None, timeout: float | None) -> int:
    """Tell what became of a message, and stay for the reply to it if it is known `since` when; return the exit code."""
    fleet.say(_told(sent))
    if since is None:
        _show_sent(fleet, sent)
        return 0
    later = "a reply that comes later waits in `shuttle inbox`"
    try:
        async with asyncio.timeout(timeout):
            answer = await _reply(fleet, agent, sent, since)
    except TimeoutError:
        _show_sent(fleet, sent)
        fleet.say(f"{sent.recipient.handle} has not replied within {duration(timeout or 0)}; {later}")
        return 1
    except (asyncio.CancelledError, LoominalError):  # Ctrl-C, or the fabric lets nobody ask any more
        _show_sent(fleet, sent)
        fleet.say(later)
        raise
    if fleet.wants_json:
        fleet.show_json(answer)
    else:
        show_letter(answer)
    await agent.follow_inbox(limit=1, shown=(answer.id,))
    return 0


def _show_sent(fleet: Fleet, sent: DirectSent) -> None:
    if fleet.wants_json:
        fleet.show_json(sent)
    else:
        click.echo(sent.id)


def _told(sent: DirectSent) -> str:
    who, status = sent.recipient.handle, sent.recipient.status
    told = f"it is in the inbox of {who}, who is {status}"
    if status is AgentStatus.OFFLINE:
        told += ": it waits there"
    return f"{told}; {sent.note}" if sent.note else told


async def _now(agent: Agent) -> _Since:
    """Return where the inbox and the receipts end now."""
    end = (await agent.follow_inbox(limit=1, unread_only=False)).next_cursor or ""
    return _Since(end, (await agent.wait_for_events(kinds=RECEIPTS, wait_seconds=0)).cursor)


async def _reply(fleet: Fleet, agent: Agent, sent: DirectSent, since: _Since) -> MessageView:
    """Return the reply to a message once it has come, and say when who was asked has seen the message.

    A message of theirs that replies to nothing is taken for it, too: not every model says what it replies to.
    """
    inbox, receipts, seen = since.inbox, since.receipts, False
    while True:
        hold = HOLD_SECONDS if seen else RECEIPT_SECONDS
        look = partial(agent.follow_inbox, unread_only=False, sender_guid=sent.recipient.guid, wait_seconds=hold)
        page = await asked_again(fleet, partial(look, cursor=inbox))
        for message in page.messages:
            if message.message_type != WORK_RESULT and message.reply_to in (None, sent.id):
                return message
        inbox = page.next_cursor or inbox
        if not seen:
            hear = partial(agent.wait_for_events, kinds=RECEIPTS, wait_seconds=0, cursor=receipts)
            events = await asked_again(fleet, hear)
            receipts, seen = events.cursor, any(each.id == sent.id for each in events.events)
            if seen:
                fleet.say(f"{sent.recipient.handle} has seen it")


async def _look(agent: Agent, limit: int, *, unread_only: bool) -> Inbox:
    """Return the oldest unread messages, or the newest of all, as many as are asked for."""
    page = await agent.follow_inbox(limit=limit, unread_only=unread_only)
    found = page.messages
    while page.messages and len(found) < limit:
        page = await agent.follow_inbox(limit=limit - len(found), unread_only=unread_only, cursor=page.next_cursor)
        found += page.messages
    return replace(page, messages=found)


async def _follow(fleet: Fleet, agent: Agent, page: Inbox, *, unread_only: bool) -> None:
    """Print the page and what comes behind it, for ever; what is printed is read."""
    while True:
        for message in page.messages:
            if fleet.wants_json:
                print_line(encode_answer(message))
            else:
                show_letter(message)
        unread_only = unread_only and bool(page.messages)  # until all of these are shown; then whatever comes
        page = await _next(fleet, agent, page, unread_only=unread_only)


async def _next(fleet: Fleet, agent: Agent, page: Inbox, *, unread_only: bool) -> Inbox:
    """Return what comes behind a page that was printed."""
    shown = [each.id for each in page.messages]

    async def ask() -> Inbox:
        try:
            return await agent.follow_inbox(
                limit=PAGE,
                cursor=page.next_cursor,
                unread_only=unread_only,
                wait_seconds=0 if shown else HOLD_SECONDS,
                shown=shown,
            )
        except BadCursor:  # the project was made anew
            return await _look(agent, PAGE, unread_only=True)

    return await asked_again(fleet, ask)
