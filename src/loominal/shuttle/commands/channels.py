"""`shuttle channels`: what is said to everyone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.channels import ChannelMessage, Channels, History, MessageSent
from loominal.fabric.protocol import encode_answer
from loominal.shuttle import completing
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.following import asked_again
from loominal.shuttle.json_output import print_line
from loominal.shuttle.messages import show_post, typed
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

COLUMNS = (Column("NAME", 1), Column("MESSAGES"), Column("LAST"), Column("DESCRIPTION", 1))
PAGE = 1000
HOLD_SECONDS = 50.0  # of one wait; it is repeated


@click.group(
    cls=FleetGroup, help="The channels of the project.\n\nExample: shuttle channels read general --since 2h --follow"
)
def channels() -> None:
    """Group the commands."""


@channels.command("list", help="List channels.\n\nExample: shuttle channels list --all-projects")
@click.pass_obj
def list_channels(fleet: Fleet) -> None:
    """List them."""

    async def ask(agent: Agent) -> Channels:
        return await agent.list_channels()

    fleet.show_pages(fleet.gather(ask), "channels", COLUMNS, _rows, "no channels")


def _rows(found: Channels) -> list[tuple[object, ...]]:
    return [(each.name, each.messages, each.last_at, each.description) for each in found.channels]


@channels.command(help="Show the newest messages of a channel.\n\nExample: shuttle channels read general --follow")
@click.argument("channel", metavar="NAME", shell_complete=completing.channels)
@click.option("--since", metavar="TIME", help="Only what was said since then: a time, or a duration such as 2h.")
@click.option("--limit", "-n", type=click.IntRange(1, PAGE), default=50, show_default=True, help="At most so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C; with --json a message a line.")
@click.pass_obj
def read(fleet: Fleet, *, channel: str, since: str | None, limit: int, follow: bool) -> None:
    """Show them, oldest first."""

    async def ask(agent: Agent) -> None:
        heard = (await agent.wait_for_events(kinds=("channel",), wait_seconds=0)).cursor if follow else ""
        history = await agent.read_messages(channel, since=since, limit=limit)
        if follow:
            await _follow(fleet, agent, channel, history, heard)
        elif fleet.wants_json:
            fleet.show_json(history)
        else:
            _print(fleet, history.messages)
            if not history.messages:
                fleet.say(f"nothing was said in #{channel.removeprefix('#')}" + (" since then" if since else ""))

    fleet.run(ask)


@channels.command(help="Say something in a channel.\n\nExample: shuttle channels send general 'Release at noon'")
@click.argument("channel", metavar="NAME", shell_complete=completing.channels)
@click.argument("text", callback=typed)
@click.option("--create", is_flag=True, help="Make the channel if there is none of that name.")
@click.pass_obj
def send(fleet: Fleet, *, channel: str, text: str, create: bool) -> None:
    """Say it; TEXT - is read from stdin."""

    async def say(agent: Agent) -> MessageSent:
        return await agent.send_message(channel, text, create=create)

    sent = fleet.run(say, acts=True)
    if fleet.wants_json:
        fleet.show_json(sent)
    else:
        click.echo(sent.id)


async def _follow(fleet: Fleet, agent: Agent, channel: str, history: History, heard: str) -> None:
    """Print the page and what comes behind it, for ever; `heard` is where the events ended before it was read."""
    while True:
        _print(fleet, history.messages)
        if not history.messages:
            wait = partial(agent.wait_for_events, kinds=("channel",), wait_seconds=HOLD_SECONDS, cursor=heard)
            heard = (await asked_again(fleet, wait)).cursor
        later = partial(agent.read_messages, channel, cursor=history.new_cursor, limit=PAGE)
        history = await asked_again(fleet, later)


def _print(fleet: Fleet, messages: tuple[ChannelMessage, ...]) -> None:
    for message in messages:
        if fleet.wants_json:
            print_line(encode_answer(message))
        else:
            show_post(message)
