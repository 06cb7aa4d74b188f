"""What every command of Shuttle works with: a connection as a person, and how answers are printed."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import click
import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect
from loominal.fabric.operations.types import View
from loominal.fabric.protocol import encode_answer

T = TypeVar("T")
PERSON = "person"


class Fleet:
    """One run of a command."""

    def __init__(self, *, as_json: bool, project: str | None) -> None:
        self.as_json = as_json
        self._project = project

    def run(self, command: Callable[[Agent], Awaitable[T]]) -> T:
        """Return what `command` makes of a connection as this person."""

        async def connected() -> T:
            async with connect(
                project=self._project, agent_type=PERSON, client="shuttle", person=True, operator=True
            ) as agent:
                return await command(agent)

        return asyncio.run(connected())

    def show(self, answer: View, columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
        """Print `answer` as JSON, or `rows` as a table; without rows `nothing` goes to stderr."""
        if self.as_json:
            self.show_json(answer)
            return
        if not rows:
            click.echo(nothing, err=True)
            return
        cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
        for row in cells:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def show_facts(self, facts: Sequence[tuple[str, object]]) -> None:
        """Print what is known under its name, a line each, and an empty line; nothing if JSON is asked for."""
        if self.as_json:
            return
        for name, value in facts:
            if text := _plain(value):
                click.echo(f"{name:<12}  {text}")
        click.echo()

    def show_json(self, answer: View) -> None:
        """Print `answer` as one JSON document."""
        click.echo(msgspec.json.format(encode_answer(answer), indent=2).decode())


def _ask_for_json(context: click.Context, _: click.Parameter, asked: bool) -> None:
    fleet = context.find_object(Fleet)
    if asked and fleet is not None:
        fleet.as_json = True


# For every command: `shuttle work list --json` says the same as `shuttle --json work list`.
json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_ask_for_json, help="Print one JSON document."
)


def _plain(value: object) -> str:
    """Return a value as one printable line: names and texts are peers' and may hold anything."""
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else "" if value is None else str(value)
    return "".join(" " if unicodedata.category(char).startswith(("C", "Z")) else char for char in text)


def _cell(value: object) -> str:
    """Return a value as one line of a table."""
    plain = _plain(value)
    return plain if len(plain) <= 60 else plain[:59] + "…"
