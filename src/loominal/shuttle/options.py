"""What every command takes, before or after its name: `shuttle --json stats` and `shuttle stats --json` are one.

Commands are made by `FleetGroup`, or of the class `FleetCommand`; `Fleet` keeps what was said.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from loominal.shuttle import completing

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

T = TypeVar("T")


class FleetCommand(click.Command):
    """A command that takes the options of every command, too; its function gets them as `Fleet` by `click.pass_obj`."""

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]  # click's own
        self.params += _everywhere()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its options by sections."""
        for title, lines in self.sections(ctx):
            with formatter.section(title):
                formatter.write_dl(lines)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def sections(self, ctx: click.Context) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return the lines of its own options under their title, then those of every command."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            line = parameter.get_help_record(ctx)
            if line and isinstance(parameter, click.Option):  # the usage names the arguments
                (shared if isinstance(parameter, _Everywhere) else own).append(line)
        return [("Options", own), ("Options of every command", shared)]


class FleetGroup(FleetCommand, click.Group):
    """A group whose commands are of the class `FleetCommand`."""

    command_class = FleetCommand


class _Everywhere(click.Option):
    """An option of every command. What it says is kept in the field of `Fleet` that it is named after."""

    def __init__(
        self,
        *names: str,
        is_flag: bool = False,
        kind: click.Path | None = None,
        line: str,
        shell_complete: Callable[[click.Context, click.Parameter, str], list[CompletionItem]] | None = None,
    ) -> None:
        super().__init__(
            names,
            is_flag=is_flag,
            type=kind,
            help=line,
            expose_value=False,
            callback=self._keep,
            shell_complete=shell_complete,
        )

    def _keep(self, context: click.Context, _: click.Parameter, value: T) -> T:
        from loominal.shuttle.fleet import Fleet

        fleet = context.ensure_object(Fleet)
        if self.name and value not in (None, False):  # else what was said before the command's name stays
            setattr(fleet, self.name, value)
        return value


def _everywhere() -> list[click.Parameter]:
    path = click.Path(dir_okay=False, path_type=Path)
    return [
        _Everywhere("--json", "as_json", is_flag=True, line="Print one JSON document."),
        _Everywhere(
            "--project",
            "-p",
            line="The project; default: LOOMINAL_PROJECT_ID, else this directory's.",
            shell_complete=completing.projects,
        ),
        _Everywhere("--all-projects", "-A", is_flag=True, line="Of every project, where the command lists."),
        _Everywhere("--config", "config_file", kind=path, line="The settings are in this file."),
        _Everywhere("--quiet", "-q", is_flag=True, line="Print data and errors, and nothing else."),
        _Everywhere("--no-color", is_flag=True, line="No colours; NO_COLOR says the same."),
    ]
