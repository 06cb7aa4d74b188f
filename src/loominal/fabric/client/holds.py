"""What an agent holds: its claims with their lease tokens, and what the hub told of them. `Session` owns one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from loominal.fabric.operations.work import WorkView

PAST_KEPT = 256  # ended claims whose lease token is remembered, so that a repeated ending is the same operation


class Holds:
    """Claims by item. A lease token never leaves it but in requests and heartbeats."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self._past: dict[str, int] = {}  # oldest first
        self._task_ids: dict[str, str] = {}  # item -> what its offerer calls it
        self._cancelled: set[str] = set()
        self._lost: dict[str, None] = {}  # oldest first
        self._active: set[str] = set()
        self._stalled: set[str] = set()
        self._ending: list[str] = []

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, item: str) -> bool:
        return item in self._tokens

    def take(self, items: Iterable[WorkView]) -> None:
        """Hold these claims, as the hub has answered them."""
        for item in items:
            if not item.lease_token:
                continue
            self._tokens[item.id] = item.lease_token
            self._task_ids[item.id] = item.task_id
            self._past.pop(item.id, None)
            self._lost.pop(item.id, None)
            if item.cancel_requested:
                self._cancelled.add(item.id)

    def item(self, text: str) -> str:
        """Return the id of the item that `text`, an id or a task id, names among those held or lately held.

        One that is not, or a task id of two, comes back as it is.
        """
        for claims in (self._tokens, self._past):
            if text in claims:
                return text
            found = [item for item in claims if self._task_ids.get(item) == text]
            if found:
                return found[0] if len(found) == 1 else text
        return text

    def lease_token(self, item: str) -> int:
        """Return the lease token of an item that is held or lately was, else 0."""
        return self._tokens.get(item) or self._past.get(item, 0)

    def touch(self, item: str) -> None:
        """Note that something happened about a claim: the next heartbeat says so."""
        if item in self._tokens:
            self._active.add(item)
            self._stalled.discard(item)

    def stall(self, item: str) -> None:
        """Note that the hub has heard nothing about the claim for long."""
        if item in self._tokens:
            self._stalled.add(item)

    @property
    def stalled(self) -> tuple[str, ...]:
        """The claims about which nothing was done since the hub said that they stand still."""
        return tuple(sorted(self._stalled))

    def end(self, item: str) -> None:
        """Hold the item no longer: it has ended or gone back."""
        token = self._tokens.pop(item, None)
        for notes in (self._cancelled, self._active, self._stalled):
            notes.discard(item)
        if token is None:
            return
        self._past[item] = token
        while len(self._past) > PAST_KEPT:
            oldest = next(iter(self._past))
            del self._past[oldest]
            self._task_ids.pop(oldest, None)

    @asynccontextmanager
    async def ending(self, item: str) -> AsyncIterator[None]:
        """Note for the length of the block that an end of the item ("" for none) is on its way to the hub."""
        self._ending.append(item)
        try:
            yield
        finally:
            self._ending.remove(item)

    def is_ending(self, item: str) -> bool:
        """Return whether an end of the item is on its way."""
        return item in self._ending

    def lose(self, item: str, lease_token: int = 0) -> None:
        """Hold the item no longer: somebody else may have it. A nudge about an older claim is passed over."""
        if item not in self._tokens or lease_token not in (0, self._tokens[item]):
            return
        self.end(item)
        self._lost[item] = None
        while len(self._lost) > PAST_KEPT:
            del self._lost[next(iter(self._lost))]

    def drop(self) -> None:
        """Hold nothing any more."""
        for item in list(self._tokens):
            self.lose(item)

    def ask_cancel(self, item: str) -> None:
        """Note that the item should be stopped."""
        if item in self._tokens:
            self._cancelled.add(item)

    def cancel_requested(self, item: str) -> bool:
        """Return whether the claim on the item should be given up because somebody called it off."""
        return item in self._cancelled

    def lost(self, item: str) -> bool:
        """Return whether a claim on the item was lost and not taken again."""
        return item in self._lost

    def pairs(self) -> tuple[tuple[str, int], ...]:
        """Return the claims as heartbeats name them."""
        return tuple(self._tokens.items())

    def active(self) -> tuple[str, ...]:
        """Return what was touched since the last call."""
        touched, self._active = tuple(sorted(self._active)), set()
        return touched
