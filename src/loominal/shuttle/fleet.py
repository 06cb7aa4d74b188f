"""What every command of Shuttle works with: its options, a way in as a person, and how answers look."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import click
import msgspec

from loominal.fabric.operations.types import View
from loominal.fabric.protocol import encode_answer
from loominal.model.errors import BrokerUnavailable, InvalidArgument, LoominalError
from loominal.shuttle.config import Config
from loominal.shuttle.json_output import print_document
from loominal.shuttle.tables import Column, lines, plain

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.fabric.client.settings import ClientSettings

T = TypeVar("T")
V = TypeVar("V", bound=View)


class Page(NamedTuple, Generic[V]):
    """What one project answered."""

    project_id: str
    project: str
    answer: V


class Fleet:
    """One run of a command. The fields are the options of every command."""

    def __init__(self) -> None:
        level = logging.getLevelNamesMapping().get((os.environ.get("LOG_LEVEL") or "ERROR").upper())
        if level is None:
            raise InvalidArgument("LOG_LEVEL is no level", "use DEBUG, INFO, WARNING or ERROR")
        logging.basicConfig(stream=sys.stderr, level=level)
        self.as_json = False
        self.project: str | None = None
        self.all_projects = False
        self.config_file: Path | None = None
        self.quiet = False
        self.no_color = False
        self.failed = 0  # exit code of the first project of several that could not be read

    @cached_property
    def config(self) -> Config:
        """What is set. Raises: InvalidArgument, NotFound."""
        return self.read_config()

    def read_config(self, *, new: bool = False) -> Config:
        """Return what is set; a `new` file need not be there. Raises: InvalidArgument, NotFound."""
        config = Config.read(self.config_file, os.environ, new=new)
        if config.mended:
            self.say(f"others could read {config.path}; now they cannot")
        return config

    @property
    def wants_json(self) -> bool:
        """Whether data are printed as JSON: it was asked for, or it is set."""
        return self.as_json or self.config.text("output") == "json"

    # the way in

    def run(self, command: Callable[[Agent], Awaitable[T]], *, acts: bool = False) -> T:
        """Return what `command` makes of a connection to the project.

        Who only looks is an operator whom nobody sees; who `acts` is this person, an agent with a handle and an inbox.
        Raises: UsageError for --all-projects, which is for lists.
        """
        if self.all_projects:
            raise click.UsageError("--all-projects is for commands that list; name the project with --project.")

        async def connected() -> T:
            async with self.connected(acts=acts) as agent:
                return await command(agent)

        return finish(connected())

    def gather(self, command: Callable[[Agent], Awaitable[V]]) -> list[Page[V]]:
        """Return what `command` makes of this project, or of every one with --all-projects.

        A project that cannot be read is told of on stderr, keeps nobody from the others, and is not forgotten in the
        exit code. Raises: Exit if none can be read.
        """
        return finish(self._gather(command))

    @asynccontextmanager
    async def connected(
        self,
        *,
        acts: bool = False,
        looks: bool = False,
        project: str | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Agent]:
        """Connect to `project`, default: the one that is meant. Raises: as `connect`, whose timeout it is.

        Who only `looks` makes no project that is not there: NotFound.
        """
        from loominal.fabric.client.connect import open_agent

        settings = msgspec.structs.replace(self.settings(project=project, timeout_seconds=timeout_seconds), looks=looks)
        if acts:
            from loominal.shuttle.person import this_person

            entered = this_person(settings)
        else:
            entered = open_agent(settings)
        async with AsyncExitStack() as stack:
            try:
                agent = await stack.enter_async_context(entered)
            except BrokerUnavailable as error:
                raise self._unreachable(error, settings) from error
            yield agent

    def settings(self, *, project: str | None = None, timeout_seconds: float | None = None) -> ClientSettings:
        """Return how to connect to `project`, default: the one that is meant. Raises: InvalidArgument."""
        from loominal.fabric.client.settings import CALL_SECONDS, ClientSettings
        from loominal.fabric.project_id import VARIABLE

        environ = self.config.environment(os.environ)
        return ClientSettings.from_env(
            environ,
            project=project or self.project or environ.get(VARIABLE) or self._set_project,
            client="shuttle",
            person=True,
            operator=True,
            timeout_seconds=timeout_seconds or CALL_SECONDS,
        )

    def _unreachable(self, error: BrokerUnavailable, settings: ClientSettings) -> BrokerUnavailable:
        """Return the error; where settings led astray it says so, and what else there is."""
        if os.environ.get("NATS_URL") or not self.config.values.get("nats-url"):
            return error
        from loominal.fabric.runtime_file import read_runtime

        local, unset = read_runtime(settings.home), "`shuttle config unset nats-url`"
        there = f"the local fabric is at {local.url}, and {unset} uses it" if local else f"start it, or {unset}"
        return type(error)(f"{error.message} ({self.config.path} sets nats-url)", there)

    @property
    def _set_project(self) -> str | None:
        """The project that is set, unless this directory has a file that names one."""
        from loominal.fabric.project_id import names_project

        named = self.config.text("project-id")
        return named if named and not names_project(Path()) else None

    async def _gather(self, command: Callable[[Agent], Awaitable[V]]) -> list[Page[V]]:
        async with self.connected(looks=self.project is not None) as agent:
            if not self.all_projects:
                return [Page(agent.project.id, agent.project.title, await command(agent))]
            every = await agent.list_projects()
        pages = []
        for each in every.projects:
            try:
                async with self.connected(project=each.project_id) as agent:
                    pages.append(Page(each.project_id, each.project, await command(agent)))
            except LoominalError as error:
                self.failed = self.failed or _told(each.project, error)
        if self.failed and not pages:
            raise click.exceptions.Exit(self.failed)
        return pages

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return if a person, or --yes, agrees. Raises: Exit if not, UsageError where nobody can be asked."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} There is nobody to ask: --yes says so.")
        if not click.confirm(question, err=True):
            raise click.exceptions.Exit(1)

    # what is printed

    def say(self, text: str) -> None:
        """Print talk: a line on stderr, unless --quiet."""
        if text and not self.quiet:
            click.echo(plain(text), err=True)

    def show(self, answer: View, columns: Sequence[Column], rows: Sequence[Sequence[object]], nothing: str) -> None:
        """Print `answer` as JSON, or `rows` as a table; without rows `nothing` is said."""
        if self.wants_json:
            self.show_json(answer)
        elif rows:
            self._table(columns, rows)
        else:
            self.say(nothing)

    def show_pages(
        self,
        pages: Sequence[Page[V]],
        plural: str,
        columns: Sequence[Column],
        rows: Callable[[V], Sequence[Sequence[object]]],
        nothing: str,
    ) -> None:
        """Print a list, whose entries `plural` names in the answer, of one project or of every one with its project.

        Without entries it says `nothing`, and of which project: it may be another one than was meant.
        """
        if self.wants_json:
            self._pages_as_json(pages, plural)
            return
        found = [(page, row) for page in pages for row in rows(page.answer)]
        if not found:
            where = "" if self.all_projects else f"in {pages[0].project}: "
            self.say("" if self.failed else f"{where}{nothing}")
        elif self.all_projects:
            self._table([Column("PROJECT", gives_way=2), *columns], [(page.project, *row) for page, row in found])
        else:
            self._table(columns, [row for _, row in found])

    def show_facts(self, facts: Sequence[tuple[str, object]]) -> None:
        """Print what is known under its name, a line each, and an empty line; nothing if JSON is asked for."""
        if self.wants_json:
            return
        told = [(name, text) for name, value in facts if (text := plain(value))]
        width = max((len(name) for name, _ in told), default=0)
        for name, text in told:
            click.echo(f"{name:<{width}}  {text}")
        click.echo()

    def show_json(self, answer: View) -> None:
        """Print `answer` as one JSON document."""
        print_document(encode_answer(answer))

    def _pages_as_json(self, pages: Sequence[Page[V]], plural: str) -> None:
        if not self.all_projects:
            self.show_json(pages[0].answer)
            return
        documents = [(page, msgspec.json.decode(encode_answer(page.answer))) for page in pages]
        found = [
            {"projectId": page.project_id, "project": page.project, **entry}
            for page, document in documents
            for entry in document[plural]
        ]
        total = sum(document.get("total", len(document[plural])) for _, document in documents)
        print_document(msgspec.json.encode({plural: found, "total": total}))

    def _table(self, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
        colours = False if self.no_color or os.environ.get("NO_COLOR") else None  # None: as stdout is a terminal
        for line in lines(columns, rows, self.width):
            click.echo(line, color=colours)

    @property
    def width(self) -> int | None:
        """How many places a line has; None: as many as it needs, for nobody looks."""
        if sys.stdout.isatty() or os.environ.get("COLUMNS"):
            from shutil import get_terminal_size  # loads compressors, too

            return get_terminal_size().columns
        return None


def finish(doing: Coroutine[object, None, T]) -> T:
    """Return what comes of it. Raises: KeyboardInterrupt also if Ctrl-C came while something else was being undone."""
    try:
        return asyncio.run(doing)
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error


def _told(project: str, error: LoominalError) -> int:
    """Say that a project cannot be read, and return the exit code of that."""
    from loominal.shuttle.refusals import exit_code, say

    say(error, project)
    return exit_code(error)
