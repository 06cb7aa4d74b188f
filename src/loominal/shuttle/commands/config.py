"""`shuttle config`: what is set for Shuttle, and where each value that holds comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from loominal.fabric.operations.types import View
from loominal.model.errors import InvalidArgument, NotFound
from loominal.shuttle.config import KEYS, OUTPUTS, Config, config_path, named
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COLUMNS = (Column("KEY"), Column("VALUE", 2), Column("FROM", 1))
LOCAL = "the local fabric"
DEFAULT = "default"


class Setting(View, frozen=True, kw_only=True):
    """A setting as it holds here, and what says so; "" and "" if nothing does."""

    key: str
    value: str | int
    source: str = msgspec.field(name="from")


class Settings(View, frozen=True, kw_only=True):
    """Every setting, and the file of those that were set."""

    settings: tuple[Setting, ...]
    path: str


class Place(View, frozen=True, kw_only=True):
    """Where the file is, or would be."""

    path: str


def _key(_: click.Context, __: click.Parameter, text: str) -> str:
    try:
        return named(text)
    except InvalidArgument as error:
        raise click.BadParameter(f"{error.message}; {error.hint}") from error


def _keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(key) for key in KEYS if key.startswith(incomplete)]


KEY = click.argument("key", callback=_key, shell_complete=_keys)


@click.group(
    cls=FleetGroup,
    help="What is set for Shuttle. A flag goes before the environment, that before the file, that before the local"
    " fabric.\n\nExample: shuttle config set project-id my-project",
)
def config() -> None:
    """Group the commands."""


@config.command("set", help="Set a value.\n\nExample: shuttle config set nats-url nats://localhost:4222")
@KEY
@click.argument("value")
@click.pass_obj
def set_value(fleet: Fleet, *, key: str, value: str) -> None:
    """Set it, "" is as unset."""
    _change(fleet, key, value)


@config.command(help="Take a value out.\n\nExample: shuttle config unset nats-url")
@KEY
@click.pass_obj
def unset(fleet: Fleet, *, key: str) -> None:
    """Take it out."""
    _change(fleet, key, "")


@config.command(help="Print the value that holds here; exit 3 if there is none.\n\nExample: shuttle config get natsUrl")
@KEY
@click.pass_obj
def get(fleet: Fleet, *, key: str) -> None:
    """Print it."""
    setting = _setting(fleet, fleet.config, key)
    if setting.value == "":
        raise NotFound(f"{key} is not set", f"`shuttle config set {key} VALUE` sets it")
    if fleet.wants_json:
        fleet.show_json(setting)
    else:
        click.echo(setting.value)


@config.command("list", help="List every key, its value, and where that comes from.\n\nExample: shuttle config list")
@click.pass_obj
def list_values(fleet: Fleet) -> None:
    """List them."""
    found = tuple(_setting(fleet, fleet.config, key) for key in KEYS)
    answer = Settings(settings=found, path=str(fleet.config.path))
    fleet.show(answer, COLUMNS, [(each.key, each.value, each.source) for each in found], "")


@config.command(help="Print where the file is.\n\nExample: shuttle config path")
@click.pass_obj
def path(fleet: Fleet) -> None:
    """Print it, whether it is there or not."""
    where = str(config_path(fleet.config_file, os.environ))
    if fleet.as_json:
        fleet.show_json(Place(path=where))
    else:
        click.echo(where)


def _change(fleet: Fleet, key: str, value: str) -> None:
    """Set or take out a value, and say so, and what goes before it here."""
    kept = fleet.read_config(new=True)
    kept.set(key, value)
    holds = _setting(fleet, kept, key)
    fleet.say(f"{key} is {kept.text(key)}, kept in {kept.path}" if value else f"{key} is not set in {kept.path}")
    if value and holds.source != str(kept.path):
        fleet.say(f"here {holds.source} goes before it: {holds.value}")
    if fleet.as_json:
        fleet.show_json(holds)


def _setting(fleet: Fleet, kept: Config, key: str) -> Setting:
    """Return the value that holds here, and where it comes from. Raises: InvalidArgument."""
    said = _before_the_file(fleet, key, os.environ)
    if said is not None:
        return said
    value = kept.value(key)
    if value is not None:
        return Setting(key=key, value=value, source=str(kept.path))
    return _without_a_file(key)


def _before_the_file(fleet: Fleet, key: str, environ: Mapping[str, str]) -> Setting | None:
    """Return what a flag, the environment or the directory says; None if they leave it to the file."""
    from loominal.broker.shown_url import shown_url
    from loominal.fabric.project_id import PROJECT_FILE, VARIABLE, find_project, names_project

    if key == "project-id" and fleet.project:
        return Setting(key=key, value=fleet.project, source="--project")
    if key == "output" and fleet.as_json:
        return Setting(key=key, value="json", source="--json")
    variable = {"nats-url": "NATS_URL", "nats-creds": "NATS_CREDS", "project-id": VARIABLE}.get(key, "")
    if value := environ.get(variable, ""):
        return Setting(key=key, value=shown_url(value) if key == "nats-url" else value, source=variable)
    if key == "nats-creds" and environ.get("NATS_URL"):
        return Setting(key=key, value="", source="")  # the file's are for the file's broker
    if key == "project-id" and names_project(Path()):
        return Setting(key=key, value=find_project(Path()).id, source=PROJECT_FILE)
    return None


def _without_a_file(key: str) -> Setting:
    """Return what holds where nothing is set."""
    from loominal.broker.shown_url import shown_url
    from loominal.fabric.operations.work import BroadcastWorkOffer
    from loominal.fabric.project_id import find_project
    from loominal.fabric.runtime_file import read_runtime
    from loominal.fabric.state_directory import home_directory

    match key:
        case "nats-url":
            local = read_runtime(home_directory(os.environ))
            return Setting(key=key, value=shown_url(local.url) if local else "", source=LOCAL if local else "")
        case "project-id":
            found = find_project(Path())
            return Setting(key=key, value=found.id, source=found.why)
        case "default-boundary":
            return Setting(key=key, value=BroadcastWorkOffer(description="").boundary, source=DEFAULT)
        case "default-priority":
            return Setting(key=key, value=BroadcastWorkOffer(description="").priority, source=DEFAULT)
        case "output":
            return Setting(key=key, value=OUTPUTS[0], source=DEFAULT)
    return Setting(key=key, value="", source="")
