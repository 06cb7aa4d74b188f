"""What a person writes for Shuttle: documents in TOML or JSON, what is wrong with them, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import click
import msgspec

from loominal.model.errors import InvalidArgument
from loominal.model.mistakes import Mistake
from loominal.shuttle.json_output import print_document
from loominal.shuttle.tables import plain

if TYPE_CHECKING:
    from loominal.shuttle.fleet import Fleet

Document: TypeAlias = dict[str, Any]  # Any: what a person wrote, until it is checked
NOTHING = "-"
DOCUMENT_BYTES = 10_000_000  # more is nothing that a person wrote, such as /dev/zero


def read_document(file: BinaryIO) -> object:
    """Return what is written in a file, as JSON has it. Raises: InvalidArgument if it is neither JSON nor TOML."""
    written = file.read(DOCUMENT_BYTES + 1)
    if len(written) > DOCUMENT_BYTES:
        raise InvalidArgument(f"{file.name} has more than {DOCUMENT_BYTES} bytes", "nothing was sent")
    text = written.decode("utf-8-sig", errors="replace")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if text.lstrip().startswith("{") or str(file.name).endswith(".json"):
            raise InvalidArgument(f"{file.name} is no JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgument(f"{file.name} is nested too deeply") from error
    import tomllib

    try:
        return msgspec.json.decode(msgspec.json.encode(tomllib.loads(text)))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{file.name} is neither TOML nor JSON: {error}") from error


def show_document(document: object) -> None:
    """Print what is no answer, such as what would be sent, as JSON."""
    print_document(msgspec.json.encode(document))


def show_changes(fleet: Fleet, lines: Sequence[str], *, dry_run: bool) -> None:
    """Print what changes: as data where nothing else comes of it, else as talk."""
    for line in lines:
        if not dry_run:
            fleet.say(line)
        elif not fleet.wants_json:
            click.echo(plain(line))


def refuse(found: Sequence[Mistake], what: str) -> None:
    """Raise InvalidArgument with all that is wrong, if anything is."""
    if not found:
        return
    lines = [f"{each}{f' ({each.hint})' if each.hint else ''}" for each in dict.fromkeys(found)]
    if len(lines) == 1:
        raise InvalidArgument(lines[0], "nothing was sent")
    raise InvalidArgument("\n  ".join([f"{len(lines)} things are wrong with {what}:", *lines]), "nothing was sent")


def differences(
    before: Mapping[str, object],
    after: Mapping[str, object],
    is_secret: Callable[[str], bool] = lambda _: False,
    place: str = "",
) -> list[str]:
    """Return what differs, a line for each place: `maxConcurrent: 1 → 2`; of a secret only that it does."""
    lines: list[str] = []
    for name in dict.fromkeys((*before, *after)):
        here, old, new = f"{place}.{name}" if place else name, before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(new, Mapping):
            if not isinstance(old, Mapping):
                lines.append(f"{here}: new")
            lines += differences(old if isinstance(old, Mapping) else {}, new, is_secret, here)
        elif isinstance(old, Mapping):
            lines.append(f"{here}: gone")
        elif is_secret(here):
            lines.append(f"{here}: changed")
        elif shown(old) != shown(new):
            lines.append(f"{here}: {shown(old)} → {shown(new)}")
    return lines


def shown(value: object) -> str:
    """Return a value of a document on a line."""
    if value in (None, "", [], (), {}):
        return NOTHING
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)
