"""Which wefts are alive, and which of them leads a project. Pure: told what was seen and when.

A weft is judged by how often this one has renewed its own record while the other's stood still: whoever cannot renew,
judges nobody. Source: the design, section 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

RENEW_SECONDS = 0.5
STILL_RENEWALS = 4  # consecutive ones of mine
STILL_SECONDS = 2.0
STALL_SECONDS = 1.0  # a weft that stood still for longer may have been thought dead


def order(project: str, wefts: Iterable[str]) -> list[str]:
    """Return `wefts` in the order in which they are to lead `project` (rendezvous hashing).

    When one goes, only its own projects change hands.
    """
    return sorted(wefts, key=lambda weft: hashlib.sha256(f"{project}\0{weft}".encode()).digest())


class Sightings:
    """What one weft has seen of the others since it could last see anything."""

    def __init__(self, me: str) -> None:
        self.me = me
        self._seen: dict[str, _Seen] = {}
        self._absent: _Seen | None = None  # how long those have been missing whose record is not there
        self._renewed_at: float | None = None

    def restart(self) -> None:
        """Count from the beginning: the connection is new, a renewal failed, or this weft stood still."""
        self._renewed_at = self._absent = None
        for seen in self._seen.values():
            seen.still_since, seen.renewals = None, 0

    def renewed(self, revisions: Mapping[str, int], now: float) -> None:
        """Take what every weft's record says, read with a successful renewal of one's own at `now` (monotonic).

        Where one's own record stands still, too, it was read from a server's copy that lags: it says nothing of others.
        """
        self._renewed_at = now
        mine = self._seen.get(self.me)
        if mine is not None and mine.revision == revisions.get(self.me):
            return
        gone = [weft for weft in self._seen if weft not in revisions]
        if self._absent is None or gone:
            self._absent = _Seen(0, now)
        else:
            self._absent.renewals += 1
        for weft in gone:
            del self._seen[weft]
        for weft, revision in revisions.items():
            seen = self._seen.get(weft)
            if seen is None or seen.revision != revision or seen.still_since is None:
                self._seen[weft] = _Seen(revision, now)
            else:
                seen.renewals += 1

    def alive(self, now: float) -> set[str]:
        """Return the wefts that are not known to be dead, this one among them."""
        return {self.me, *(weft for weft, seen in self._seen.items() if not seen.dead(now))}

    def is_dead(self, weft: str, now: float) -> bool:
        """Return whether `weft` is known to be dead: its record stood still, or was missing, for too long."""
        seen = self._seen.get(weft, self._absent)
        return weft != self.me and seen is not None and seen.dead(now)

    def sure(self, now: float) -> bool:
        """Return whether this weft has renewed lately: else others may think it dead, and it judges nobody."""
        return self._renewed_at is not None and now - self._renewed_at < STILL_SECONDS


class _Seen:
    """One weft's record: its last revision, and for how long and how many renewals it has not changed."""

    __slots__ = ("renewals", "revision", "still_since")

    def __init__(self, revision: int, now: float) -> None:
        self.revision = revision
        self.still_since: float | None = now
        self.renewals = 0

    def dead(self, now: float) -> bool:
        """Return whether it stood still for long enough, by renewals and by time."""
        still = self.still_since is not None and now - self.still_since >= STILL_SECONDS
        return still and self.renewals >= STILL_RENEWALS
