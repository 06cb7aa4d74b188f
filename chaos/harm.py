"""What was done to whom, and who lost a claim although nothing was done to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise

import msgspec

from chaos.notes import Note, What
from loominal.model.work import Move, Status
from tests.checker import Checked

NAMED_SECONDS = 2.0  # after which a claim that its holder knows has been named: heartbeats come every 0.5 s
TAKEN = (Move.LAPSE, Move.RELEASE)


class Harm(msgspec.Struct, frozen=True):
    """Something that kept the heartbeats of some crews away, from `began` to `ended` in seconds since the epoch."""

    crews: frozenset[int]
    began: float
    ended: float
    delays: bool = False  # what wefts and broker tell each other


def robbed(work: Checked, notes: list[Note], harms: Iterable[Harm]) -> Iterator[str]:
    """Tell who lost a claim although it could be heard all along, whatever befell wefts and broker.

    Whoever knew the claim, did not end it, and was not harmed, may not lose it, not even for a moment: whoever leads
    next, or can hear again, grants every lease anew.
    """
    crew = {note.agent: note.crew for note in notes if note.agent}
    known = {(note.id, note.token): note.at for note in reversed(notes) if note.what is What.CLAIMED}
    ended = {(note.id, note.token): note.at for note in reversed(notes) if note.what is What.ENDING}
    begun = [(note.crew, note.at) for note in notes if note.what is What.BEGUN]
    late = [Harm(frozenset({note.crew}), note.at - note.seconds, note.at) for note in notes if note.what is What.LATE]
    every = [*harms, *late]
    for item, states in work.items.items():
        stored = work.stored_at[item]
        for (before, after), taken in zip(pairwise(states), map(_seconds, stored[1:]), strict=True):
            claim = before.id, before.token
            held = before.status is Status.CLAIMED and known.get(claim, taken) + NAMED_SECONDS < taken
            if not held or after.last.move not in TAKEN:
                continue
            mine = crew[before.claimed_by]
            is_over = ended.get(claim, taken) < taken
            forgot = any(each == mine and known[claim] <= at <= taken for each, at in begun)
            harmed = any(mine in harm.crews and harm.began <= taken <= harm.ended for harm in every)
            if not (is_over or forgot or harmed):
                who = f"{before.claimed_by} of crew {mine}"
                yield f"{who}, unharmed, lost {item} by {after.last.move} ({after.last.note}) at {after.last.at}"


def _seconds(at: datetime) -> float:
    return at.timestamp()
