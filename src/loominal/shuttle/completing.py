"""What the shell is offered for a word from the live fabric: parameters name one of these as their `shell_complete`.

It is quick or says nothing, it starts nothing, and nobody sees it. Values are peers' and land in a shell: what is not
plain letters is left out.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from loominal.fabric.client.agent import Agent
    from loominal.shuttle.fleet import Fleet

SECONDS = 0.6  # for the fabric; a person waits a second at most, and the interpreter starts in the rest
MOST = 100
HELP_CHARACTERS = 60
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")


class Word(NamedTuple):
    """A value, and what it is, for shells that show that."""

    value: str
    about: str = ""


Ask = Callable[["Agent"], Awaitable[Iterable[Word]]]


def handles(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the handles of agents."""

    async def ask(agent: Agent) -> Iterable[Word]:
        found = await agent.discover_agents(include_offline=True, limit=MOST)
        return [Word(each.handle, f"{each.status} {each.agent_type}") for each in found.agents]

    return _offered(ctx, incomplete, ask)


def work_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the ids of work items."""

    async def ask(agent: Agent) -> Iterable[Word]:
        found = await agent.list_work(limit=MOST)
        return [Word(each.id, f"{each.status}: {each.description}") for each in found.items]

    return _offered(ctx, incomplete, ask)


def dead_letters(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the ids of dead letters."""

    async def ask(agent: Agent) -> Iterable[Word]:
        found = await agent.list_dead_letter_items(limit=MOST)
        return [Word(each.id, f"{each.reason}: {each.task_id}") for each in found.items]

    return _offered(ctx, incomplete, ask)


def targets(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of targets."""

    async def ask(agent: Agent) -> Iterable[Word]:
        return [Word(each.name, f"{each.mechanism} {each.agent_type}") for each in (await agent.list_targets()).targets]

    return _offered(ctx, incomplete, ask)


def channels(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of channels."""

    async def ask(agent: Agent) -> Iterable[Word]:
        return [Word(each.name, f"{each.messages} messages") for each in (await agent.list_channels()).channels]

    return _offered(ctx, incomplete, ask)


def projects(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of projects."""

    async def ask(agent: Agent) -> Iterable[Word]:
        return [Word(each.project_id, each.project) for each in (await agent.list_projects()).projects]

    return _offered(ctx, incomplete, ask, anywhere=True)


def _offered(ctx: click.Context, incomplete: str, ask: Ask, *, anywhere: bool = False) -> list[CompletionItem]:
    """Return what may be meant of what is answered; nothing, and silently, if the fabric does not answer at once."""
    import logging  # this module is loaded with every command: only who completes loads what it needs

    from click.shell_completion import CompletionItem

    from loominal.model.errors import LoominalError
    from loominal.shuttle.fleet import Fleet, finish
    from loominal.shuttle.tables import cut, plain

    logging.disable()
    fleet = ctx.ensure_object(Fleet)
    fleet.quiet = True
    try:
        words = finish(_asked(fleet, ask, anywhere=anywhere))
    except (LoominalError, OSError, TimeoutError):
        return []
    return [
        CompletionItem(word.value, help=cut(plain(word.about), HELP_CHARACTERS))
        for word in words
        if word.value.startswith(incomplete) and PLAIN.fullmatch(word.value)
    ]


async def _asked(fleet: Fleet, ask: Ask, *, anywhere: bool) -> Iterable[Word]:
    """Return the answer, asked in the project that is meant if it is known on this machine, or `anywhere` in any.

    A project that is not known would come to be by being asked.
    """
    import asyncio

    from loominal.fabric.slots import known_projects

    settings = fleet.settings(timeout_seconds=SECONDS)
    known = known_projects(settings.home)
    if settings.project.id not in known and not (anywhere and known):
        return []
    project = None if settings.project.id in known else known[0]
    async with asyncio.timeout(SECONDS), fleet.connected(project=project, timeout_seconds=SECONDS) as agent:
        return await ask(agent)
