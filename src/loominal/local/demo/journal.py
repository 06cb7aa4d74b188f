"""What an agent of the demo writes into its journal, one JSON line for each thing it did; the boss reads along."""

from __future__ import annotations

import contextlib
from collections import Counter
from enum import StrEnum
from pathlib import Path

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


class Journals:
    """The journals in one folder, a file for each agent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: Counter[Path] = Counter()  # bytes

    def new(self) -> list[Entry]:
        """Return what was written since the last call; of a killed agent's last line there may be half."""
        found = []
        for path in sorted(self._folder.iterdir()):
            with path.open("rb") as file:
                file.seek(self._read[path])
                written = file.read()
            whole = written[: written.rfind(b"\n") + 1]
            self._read[path] += len(whole)
            for line in whole.splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    found.append(msgspec.json.decode(line, type=Entry))
        return found
