"""`loominal project`: which project this directory belongs to and why, and how to name it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from loominal.fabric.project_id import PROJECT_FILE, VARIABLE, find_project
from loominal.model.errors import InvalidArgument
from loominal.model.names import project_name


@click.group(
    invoke_without_command=True,
    help="Show which project this directory belongs to and why.\n\nExample: loominal project use my-project",
)
@click.pass_context
def project(ctx: click.Context) -> None:
    """Show the project."""
    if ctx.invoked_subcommand is None:
        _show()


@project.command(help="Name this directory's project, in a .loominal.toml here.\n\nExample: loominal project use shop")
@click.argument("name")
def use(name: str) -> None:
    """Write the name into `.loominal.toml` of this directory, in place of the one it may hold."""
    file = Path.cwd() / PROJECT_FILE
    line = f'project = "{project_name(name)}"'
    try:
        kept = file.read_text("utf-8").splitlines() if file.exists() else []
        file.write_text("\n".join([line, *(old for old in kept if not _names_project(old))]) + "\n", "utf-8")
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"cannot write {file}: {error}") from error
    _show()


def _show() -> None:
    found = find_project(Path.cwd(), variable=os.environ.get(VARIABLE, ""))
    title = "" if found.title == found.id else f"  {found.title}\n"
    click.echo(f"{found.id}\n{title}  because {found.why}")


def _names_project(line: str) -> bool:
    return line.partition("=")[0].strip() in ("project", '"project"', "'project'")
