"""What warp is told by its environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Self

import msgspec

from loominal.fabric.client.settings import ClientSettings
from loominal.model import names
from loominal.model.errors import InvalidArgument

LIMIT_BYTES = 24_000  # of an answer, text and structure together: more would crowd a model's context
STRUCTURED_BYTES = 9_500  # what the hub is asked for; as text, with its lines indented, it takes at most 1.5 times that
SESSION_CHARACTERS = 100
CALL_SECONDS = 20.0  # how long a call is repeated while nobody answers: clients give up a tool after 60 s
SESSION_VARIABLES = ("CLAUDE_CODE_SESSION_ID",)  # in which clients tell their servers which session it is


class WarpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One process's settings."""

    client: ClientSettings
    autostart: bool  # LOOMINAL_AUTOSTART: 0 = never start a fabric; a launched agent never does
    log_level: int  # LOG_LEVEL: WARNING
    channel: bool = False  # --channel: push what waits to the client

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, channel: bool = False) -> Self:
        """Return the settings. Raises: InvalidArgument for a value that cannot be used."""
        level = logging.getLevelNamesMapping().get(environ.get("LOG_LEVEL", "WARNING").upper())
        if level is None:
            raise InvalidArgument("LOG_LEVEL is no level", "use DEBUG, INFO, WARNING or ERROR")
        client = ClientSettings.from_env(environ, client="mcp", timeout_seconds=CALL_SECONDS)
        session = next(filter(None, map(environ.get, SESSION_VARIABLES)), "")
        return cls(
            client=msgspec.structs.replace(
                client,
                session=names.one_line(session, SESSION_CHARACTERS),
                adopts=True,
            ),
            autostart=client.enrolment is None and environ.get("LOOMINAL_AUTOSTART", "") != "0",
            log_level=level,
            channel=channel,
        )
