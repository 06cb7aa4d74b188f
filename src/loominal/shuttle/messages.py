"""Messages on a terminal: what a person types, and what others wrote, indented so that no line of it looks ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from loominal.fabric.operations.channels import ChannelMessage
from loominal.fabric.operations.inbox import MessageView
from loominal.fabric.protocol import ENCODED_BYTES
from loominal.model.message import WORK_RESULT, Importance
from loominal.shuttle.tables import plain

QUESTION = "question"  # the type of a message that asks for a reply
STDIN = "-"


def typed(ctx: click.Context, _: click.Parameter, text: str) -> str:
    """Return the message that an argument is: `-` reads stdin. Raises: BadParameter for an empty one."""
    if ctx.resilient_parsing:  # the shell asks what may follow
        return text
    text = sys.stdin.read(ENCODED_BYTES) if text == STDIN else text
    if not text.strip():
        raise click.BadParameter("it is empty")
    return text.rstrip("\n")


def show_letter(message: MessageView) -> None:
    """Print a direct message: a line of who, when and which, then its text."""
    about = [message.sender.handle, message.timestamp, message.id]
    if message.sender.person:
        about.append("a person")
    if message.message_type not in ("text", WORK_RESULT):
        about.append(message.message_type)
    if message.ack_required:
        about.append("asks for a reply")
    text = _result(message) if message.message_type == WORK_RESULT else message.message
    _show([*about, *_more(message)], text)


def show_post(message: ChannelMessage) -> None:
    """Print a channel's message in the same way."""
    _show([message.handle, message.timestamp, message.id, *_more(message)], message.message)


def _show(about: Sequence[object], text: str) -> None:
    click.echo("  ".join(map(plain, about)))
    for line in text.splitlines():
        click.echo(f"  {plain(line)}".rstrip())


def _more(message: MessageView | ChannelMessage) -> Iterator[str]:
    """Yield what else there is to say of a message."""
    if message.reply_to:
        yield f"replies to {message.reply_to}"
    if message.importance is not Importance.NORMAL:
        yield f"importance {message.importance}"
    if message.truncated:
        yield f"the first {message.next_offset} of {message.chars} characters"


def _result(message: MessageView) -> str:
    """Return what the fabric tells of the end of one's work, with the command that shows the rest."""
    told, _, _ = message.message.partition(" get_work ")
    details = [str(message.metadata[name]) for name in ("summary", "error") if message.metadata.get(name)]
    return "\n".join([told, *details, f"`shuttle work show {message.metadata.get('workId', 'ID')}` shows the rest"])
