"""How a command that did not succeed ends: its exit code, and what to do next. Loaded only by those."""

from __future__ import annotations

import re

import click

from loominal.model.errors import (
    BrokerUnavailable,
    CredentialRefused,
    Forbidden,
    HubUnavailable,
    InvalidArgument,
    LoominalError,
    NotFound,
    NotRegistered,
    QuotaExceeded,
)
from loominal.shuttle.tables import plain

EXIT_CODES: tuple[tuple[type[LoominalError], int], ...] = (
    (InvalidArgument, 2),
    (NotFound, 3),
    (Forbidden, 4),
    (QuotaExceeded, 4),
    (NotRegistered, 4),
    (CredentialRefused, 4),
    (BrokerUnavailable, 5),
    (HubUnavailable, 5),
    (LoominalError, 1),
)
FOR_AGENTS = "shuttle needs a machine that was let in with `loominal invite --role operator`; this one is for agents"
IN_A_SHELL = {
    "list_work": "`shuttle work list`",
    "cancel_work": "`shuttle work cancel`",
    "list_dead_letter_items": "`shuttle dlq list`",
    "retry_dead_letter_item": "`shuttle dlq retry`",
    "discard_dead_letter_item": "`shuttle dlq discard`",
    "discover_agents with scope fabric": "`shuttle agents list -A`",
    "discover_agents": "`shuttle agents list`",
    "list_channels": "`shuttle channels list`",
    "send_message with create: true": "`shuttle channels send --create`",
    "list_targets": "`shuttle targets list`",
    "enable_target": "`shuttle targets enable`",
    "list_spin_ups": "`shuttle spin-ups`",
    "get_policy": "`shuttle policy show`",
}  # operation that a hint names, or what to do with it -> the command for it


def exit_code(error: LoominalError) -> int:
    """Return the exit code that an error has, by the contract."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def hint(error: LoominalError) -> str:
    """Return what to do next, in commands: hints come from the hub, which speaks of operations."""
    if isinstance(error, NotRegistered):  # an operator may look without being registered
        return FOR_AGENTS
    operations = "|".join(map(re.escape, IN_A_SHELL))
    return re.sub(rf"\b({operations})\b", lambda found: IN_A_SHELL[found[0]], error.hint)


def say(error: LoominalError, about: str = "") -> None:
    """Print on stderr what an error is, `about` what, and what to do next; texts of peers may be in it."""
    message = f"{about}: {error.message}" if about else error.message
    told = message.split("\n") + ([f"  {hint(error)}"] if error.hint else [])
    click.echo("shuttle: " + "\n".join(map(plain, told)), err=True)
