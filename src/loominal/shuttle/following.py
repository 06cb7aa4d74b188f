"""Going on for ever: what `--follow` does while the fabric does not answer. It ends by Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from loominal.model.errors import BrokerUnavailable, CredentialRefused, HubUnavailable

if TYPE_CHECKING:
    from loominal.shuttle.fleet import Fleet

AGAIN_SECONDS = 1.0

T = TypeVar("T")


async def asked_again(fleet: Fleet, ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` answers, however long the fabric does not; that is said once. Raises: what `ask` does else."""
    told = False
    while True:
        try:
            return await ask()
        except CredentialRefused:
            raise
        except (BrokerUnavailable, HubUnavailable) as error:
            if not told:
                fleet.say(f"{error.message}; still listening")
            told = True
            await asyncio.sleep(AGAIN_SECONDS)
