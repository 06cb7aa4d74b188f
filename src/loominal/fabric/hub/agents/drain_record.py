"""What the bucket keeps of an agent that is to end; `draining.py` writes it, the project holds those that there are."""

from __future__ import annotations

import msgspec

from loominal.model.record import version
from loominal.model.times import Instant


class DrainRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That an agent is to end, and by when."""

    v: int = version(1)
    agent: str
    reason: str = ""
    until: Instant
    revision: int = 0  # of the key; set when it is read
