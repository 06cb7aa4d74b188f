"""What was done to whom, and who lost a claim although nothing was done to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise

import msgspec

from chaos.faults import Target
from chaos.notes import Note, What
from loominal.model.work import Move, Status
from tests.checker import Checked

NAMED_SECONDS = 2.0  # after which a claim that its holder knows has been named: heartbeats come every 0.5 s
TAKEN = (Move.LAPSE, Move.RELEASE)


class Harm(msgspec.Struct, frozen=True):
    """Something that was done to `target` (crew `number`), from `began` to `ended` in seconds since the epoch.

    It has ended when heartbeats come through again.
    """

    target: Target
    number: int
    began: float
    ended: float
    delays: bool = False  # what wefts and broker tell each other


def robbed(work: Checked, notes: list[Note], harms: Iterable[Harm]) -> Iterator[str]:
    """Tell who lost a claim although it could be heard all along, whatever befell wefts and broker.

    Whoever knew the claim, did not end it, and was not harmed, may not lose it, not even for a moment.
    """
    crew = {note.agent: note.crew for note in notes if note.agent}
    known = {(note.id, note.token): note.at for note in reversed(notes) if note.what is What.CLAIMED}
    ended = {(note.id, note.token): note.at for note in reversed(notes) if note.what is What.ENDING}
    begun = [(note.crew, note.at) for note in notes if note.what is What.BEGUN]
    late = [Harm(Target.AGENTS, note.crew, note.at - note.seconds, note.at) for note in notes if note.what is What.LATE]
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
            if not is_over and not forgot and not any(_touches(harm, mine, taken) for harm in every):
                who = f"{before.claimed_by} of crew {mine}"
                yield f"{who}, unharmed, lost {item} by {after.last.move} ({after.last.note}) at {after.last.at}"


def _touches(harm: Harm, crew: int, taken_at: float) -> bool:
    """Return whether `harm` can be why the crew lost a claim at `taken_at`: it was not over then.

    What befalls a weft or the broker costs nobody a claim: whoever leads next, or can hear again, grants every lease
    anew.
    """
    of_it = harm.target in (Target.CREWS, Target.ALL) or (harm.target, harm.number) == (Target.AGENTS, crew)
    return of_it and harm.began <= taken_at <= harm.ended


def _seconds(at: datetime) -> float:
    return at.timestamp()
