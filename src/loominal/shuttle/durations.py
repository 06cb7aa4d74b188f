"""Durations on the command line: `--timeout 90s`, `--timeout 2h`, `--timeout 90`."""

from __future__ import annotations

import click

from loominal.model.errors import InvalidArgument
from loominal.model.times import duration_seconds


def seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Return the seconds that an option's value lasts; a mere number is seconds. Raises: BadParameter."""
    try:
        return None if text is None else duration_seconds(f"{text}s" if text.isdecimal() else text)
    except InvalidArgument as error:
        raise click.BadParameter(f"{error.message}; {error.hint}") from error
