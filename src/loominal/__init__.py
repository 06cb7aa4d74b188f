"""Loominal: the fabric between AI coding agents. `async with loominal.connect() as agent:` is the way in.

Every name is loaded at first use, so that importing the package costs nothing and reads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.fabric.client.connect import connect
    from loominal.model.errors import (
        BadCursor,
        BoundaryRefused,
        BrokerUnavailable,
        Busy,
        Duplicate,
        Forbidden,
        HandleTaken,
        HubUnavailable,
        IllegalMove,
        InboxFull,
        Internal,
        InvalidArgument,
        LeaseLost,
        LoominalError,
        NotCapable,
        NotFound,
        NotOwner,
        NotRegistered,
        QuotaExceeded,
        StartFailed,
        TooLarge,
        Unconfirmed,
        UnknownChannel,
        Unreachable,
        UpgradeNeeded,
        WrongFabric,
    )

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "BadCursor",
    "BoundaryRefused",
    "BrokerUnavailable",
    "Busy",
    "Duplicate",
    "Forbidden",
    "HandleTaken",
    "HubUnavailable",
    "IllegalMove",
    "InboxFull",
    "Internal",
    "InvalidArgument",
    "LeaseLost",
    "LoominalError",
    "NotCapable",
    "NotFound",
    "NotOwner",
    "NotRegistered",
    "QuotaExceeded",
    "StartFailed",
    "TooLarge",
    "Unconfirmed",
    "UnknownChannel",
    "Unreachable",
    "UpgradeNeeded",
    "WrongFabric",
    "connect",
]


def __getattr__(name: str) -> object:
    """Return a public name from the module that owns it. Raises: AttributeError if the package exports no such name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    owners = {"Agent": "loominal.fabric.client.agent", "connect": "loominal.fabric.client.connect"}
    return getattr(import_module(owners.get(name, "loominal.model.errors")), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return [*__all__, "__version__"]
