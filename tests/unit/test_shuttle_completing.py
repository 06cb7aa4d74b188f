"""Whatever a command asks of what there is in the fabric can be completed with Tab."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.shell_completion import CompletionItem

from loominal.shuttle import completing
from loominal.shuttle.main import cli

ASKED = {
    "item_id": "ID", "item_ids": "ID", "depends_on": "ID", "handle": "HANDLE", "assign_to": "HANDLE", "agent": "HANDLE",
    "channel": "NAME", "target": "NAME", "project": "NAME",
}  # fmt: skip  # a parameter's name -> what it is


def parameters(
    command: click.Command, context: click.Context, path: str = "shuttle"
) -> Iterator[tuple[str, click.Parameter]]:
    yield from ((f"{path} {parameter.name}", parameter) for parameter in command.get_params(context))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if sub := command.get_command(context, name):
                yield from parameters(sub, context, f"{path} {name}")


def test_every_parameter_that_names_something_of_the_fabric_completes(monkeypatch: pytest.MonkeyPatch) -> None:
    live = [CompletionItem("live")]
    monkeypatch.setattr(completing, "_offered", lambda *_, **__: live)
    context = click.Context(cli, resilient_parsing=True)

    missing = [
        path
        for path, parameter in parameters(cli, context)
        if parameter.name in ASKED and parameter.shell_complete(context, "") != live
    ]

    assert missing == []
