"""The manual of Shuttle: what `docs/shuttle.md` says behind `MARK` is written from the commands, by `make manual`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from loominal.shuttle.main import cli
from loominal.shuttle.options import FleetCommand

PAGE = Path(__file__).parents[1] / "docs" / "shuttle.md"
MARK = "<!-- from here on `make manual` writes it -->\n"
EXAMPLE = "Example: "
HELP = "--help"


def manual() -> str:
    """Return what the page says behind the mark: every command once, and the options that all have."""
    top = click.Context(cli, info_name="shuttle")
    shared = cli.sections(top)[-1]
    return "\n".join(["## Options of every command", "", *_table(shared[1]), *_commands(top, cli)]) + "\n"


def written() -> str:
    """Return the page as it has to be."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n" + manual()


def _commands(context: click.Context, group: click.Group) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert isinstance(command, FleetCommand)
        inner = click.Context(command, info_name=name, parent=context)
        yield from _command(inner, command)
        if isinstance(command, click.Group):
            yield from _commands(inner, command)


def _command(context: click.Context, command: FleetCommand) -> Iterator[str]:
    level = "##" if context.parent is None or context.parent.parent is None else "###"
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield from ("", f"{level} {context.command_path}", "")
    if pieces:
        yield from (f"`{' '.join((context.command_path, *pieces))}`", "")
    yield from _said((command.help or "").split("\n\n"))
    for title, lines in command.sections(context)[:-1]:
        if table := _table(lines):
            yield from ("", *(() if title == "Options" else (f"{title}:", "")), *table)
    if command.epilog:
        yield from ("", "```sh", textwrap.dedent(command.epilog.partition("Examples:\n")[2]).rstrip(), "```")


def _said(paragraphs: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(paragraphs):
        if number:
            yield ""
        if text.startswith(EXAMPLE):
            yield from ("```sh", text.removeprefix(EXAMPLE), "```")
        else:
            yield from textwrap.wrap(text, 130, break_on_hyphens=False)


def _table(lines: Sequence[tuple[str, str]]) -> list[str]:
    cells = [[cell.replace("|", r"\|") for cell in line] for line in lines if not line[0].endswith(HELP)]
    rows = [f"| `{option}` | {line} |" for option, line in cells]
    return ["| option | |", "| --- | --- |", *rows] if rows else []


if __name__ == "__main__":
    PAGE.write_text(written())
