"""How far an agent has read its inbox, as pure rules: what is offered, what counts as shown, what is still unread.

A page is *offered* when a read answers with it, and *shown* (to its reader: surfaced) when the same process asks for
something else and says that the answer has come, names it in `ack`, or reads on behind it. Until then another process
gets it again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from loominal.model.record import version

OFFERS_KEPT = 8  # reads of one agent that may be asked again; a forgotten one is only shown again
ACKED_KEPT = 1000


class Offer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The messages that one read wrote to one process; asked again with the same op, it gets them again."""

    op: str
    to: str  # the incarnation that asked
    sequences: tuple[int, ...]
    again: tuple[int, ...] = ()  # of them, those another process had been offered before
    shown: bool = False


class ReadMarks(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the registry keeps of an agent's reading (key `in.<id>`), by sequence of the inbox log, each tuple in order.

    Shown is everything up to `through` but what is `left`, and what is `surfaced` behind it. In the functions below,
    `inbox` is every sequence in that inbox, in order.
    """

    v: int = version(1)
    through: int = 0
    left: tuple[int, ...] = ()
    surfaced: tuple[int, ...] = ()
    offers: tuple[Offer, ...] = ()
    acked: tuple[int, ...] = ()  # of the messages that ask for it, the newest thousand


def is_shown(marks: ReadMarks, sequence: int) -> bool:
    """Return whether the message at `sequence` was shown."""
    if sequence <= marks.through:
        return not _holds(marks.left, sequence)
    return _holds(marks.surfaced, sequence)


def unread(marks: ReadMarks, inbox: Sequence[int], after: int = 0) -> Iterator[int]:
    """Yield the messages behind `after` that were not shown yet, oldest first."""
    for sequence in marks.left[bisect_right(marks.left, after) :]:
        if _holds(inbox, sequence):
            yield sequence
    for place in range(bisect_right(inbox, max(after, marks.through)), len(inbox)):
        if not _holds(marks.surfaced, inbox[place]):
            yield inbox[place]


def unread_count(marks: ReadMarks, inbox: Sequence[int]) -> int:
    """Return how many messages were not shown yet; quick however long the inbox is."""
    behind = len(inbox) - bisect_right(inbox, marks.through)
    left = sum(_holds(inbox, sequence) for sequence in marks.left)
    return behind + left - sum(_holds(inbox, sequence) for sequence in marks.surfaced)


def pending(marks: ReadMarks, to: str) -> frozenset[int]:
    """Return what was offered to the process `to` and is not known to be shown."""
    due = (offer for offer in marks.offers if offer.to == to and not offer.shown)
    return frozenset(sequence for offer in due for sequence in offer.sequences)


def offered_elsewhere(marks: ReadMarks, to: str) -> frozenset[int]:
    """Return what was offered to other processes than `to` and is not known to be shown."""
    due = (offer for offer in marks.offers if offer.to != to and not offer.shown)
    return frozenset(sequence for offer in due for sequence in offer.sequences)


def offer_of(marks: ReadMarks, op: str, to: str) -> Offer | None:
    """Return what this very read was offered before: its answer was lost, and it is asked again."""
    return next((offer for offer in marks.offers if (offer.op, offer.to) == (op, to)), None)


def offer(marks: ReadMarks, op: str, to: str, sequences: Iterable[int]) -> ReadMarks:
    """Return `marks` after a read wrote `sequences` to the process `to`; what was shown before is not offered."""
    fresh = tuple(sorted({sequence for sequence in sequences if not is_shown(marks, sequence)}))
    if not fresh or offer_of(marks, op, to) is not None:
        return marks
    again = tuple(sorted(offered_elsewhere(marks, to).intersection(fresh)))
    made = Offer(op=op, to=to, sequences=fresh, again=again)
    return replace(marks, offers=(*marks.offers, made)[-OFFERS_KEPT:])


def surface(marks: ReadMarks, to: str, answered: Collection[str]) -> ReadMarks:
    """Return `marks` after the process `to` said that its reads `answered` were: what they offered was shown."""
    due = (offer for offer in marks.offers if offer.to == to and offer.op in answered and not offer.shown)
    return show(marks, [sequence for offer in due for sequence in offer.sequences])


def pass_by(marks: ReadMarks, cursor: int, asked_for: Callable[[int], bool]) -> ReadMarks:
    """Return `marks` after a read went on behind `cursor`: what it `asked_for` and was offered before was shown."""
    offered = {sequence for offer in marks.offers for sequence in offer.sequences if sequence <= cursor}
    return show(marks, filter(asked_for, offered))


def ack(marks: ReadMarks, sequences: Collection[int], asking: Collection[int]) -> ReadMarks:
    """Return `marks` after the reader named `sequences`; those `asking` for it are noted as acknowledged."""
    noted = tuple(sorted({*marks.acked, *asking})[-ACKED_KEPT:])
    return replace(show(marks, sequences), acked=noted)


def show(marks: ReadMarks, sequences: Iterable[int]) -> ReadMarks:
    """Return `marks` with the messages at `sequences` shown."""
    new = {sequence for sequence in sequences if not is_shown(marks, sequence)}
    if not new:
        return marks
    behind = {sequence for sequence in new if sequence > marks.through}
    shown = replace(
        marks,
        left=tuple(sequence for sequence in marks.left if sequence not in new),
        surfaced=tuple(sorted(behind.union(marks.surfaced))),
    )
    return replace(shown, offers=tuple(_settled(shown, offer) for offer in shown.offers))


def catch_up(marks: ReadMarks, newer: ReadMarks) -> ReadMarks:
    """Return `marks` with shown what `newer`, which began from the same offers, knows to be shown."""
    return show(marks, [sequence for offer in newer.offers if offer.shown for sequence in offer.sequences])


def settle(marks: ReadMarks, inbox: Sequence[int], complete: int) -> ReadMarks:
    """Return the same marks in their shortest form; `inbox` is known to lack nothing up to `complete`."""
    through = max((sequence for sequence in marks.surfaced if sequence <= complete), default=marks.through)
    between = inbox[bisect_right(inbox, marks.through) : bisect_right(inbox, through)]
    skipped = (sequence for sequence in between if not _holds(marks.surfaced, sequence))
    left = (*(sequence for sequence in marks.left if _holds(inbox, sequence)), *skipped)
    surfaced = marks.surfaced[bisect_right(marks.surfaced, through) :]
    if len(left) + len(surfaced) > len(marks.left) + len(marks.surfaced):
        return marks
    return replace(marks, through=through, left=left, surfaced=surfaced)


def _settled(marks: ReadMarks, made: Offer) -> Offer:
    if made.shown or not all(is_shown(marks, sequence) for sequence in made.sequences):
        return made
    return replace(made, shown=True)


def _holds(ordered: Sequence[int], sequence: int) -> bool:
    place = bisect_left(ordered, sequence)
    return place < len(ordered) and ordered[place] == sequence
