"""What an agent of the demo writes on its standard output, one JSON line for each thing it did; the boss reads it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Deed(StrEnum):
    """What an agent can have done."""

    REGISTERED = "registered"
    REFUSED = "refused"
    MET = "met"
    SAID = "said"
    ASKED = "asked"
    ANSWERED = "answered"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"
    OFFERED = "offered"
    TOLD = "told"
    LEFT = "left"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One deed of one agent."""

    agent: str
    deed: Deed
    item: str = ""  # the task id it is about
    lease_token: int = 0  # of a claim; it is the claim's place in the project's log
    peer: str = ""  # whom it has to do with
    text: str = ""
    id: str = ""  # of a message
    right: bool = True  # whether a result is what the agent finds itself
