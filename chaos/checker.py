"""The check: what the agents wrote down, what was done to them, and what the logs hold must agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from chaos.books import Books, Kept
from chaos.harm import Harm, robbed
from chaos.notes import Note, What
from loominal.model.errors import LeaseLost
from loominal.model.message import WORK_RESULT
from loominal.model.work import ENDED, Move, Notify, Status, WorkItem
from tests.checker import Checked, End

VERBS = {
    "complete": {Move.COMPLETE, Move.RECOVER},
    "fail": {Move.FAIL},
    "release": {Move.RELEASE},
}
UNKNOWN = {"broker_unavailable", "hub_unavailable", "busy"}  # after these nobody knows whether it was done


def violations(books: Books, notes: list[Note], harms: list[Harm]) -> list[str]:
    """Return everything that must not be; nothing, if all is well."""
    by_what: defaultdict[What, list[Note]] = defaultdict(list)
    for note in notes:
        by_what[note.what].append(note)
    return [
        *books.work.faults,
        *_messages(books.messages, by_what),
        *_direct_reads(books.messages, by_what),
        *_followed(books.messages, notes),
        *_submissions(books.work, by_what),
        *_claims(books.work, by_what),
        *_claimed_once(books.work, harms),
        *_ends(books.work, by_what),
        *_refused(books.work, by_what),
        *_listed(books.work, by_what),
        *_told(books),
        *robbed(books.work, notes, harms),
    ]


def _messages(kept: list[Kept], notes: dict[What, list[Note]]) -> Iterator[str]:
    """Accepted messages are there, once, in their sender's order; nothing else is."""
    stored = [each for each in kept if each.message.message_type != WORK_RESULT]
    for text, count in Counter(each.message.text for each in stored).items():
        if count > 1:
            yield f"message {text!r} is stored {count} times"
    by_text = {each.message.text: each for each in stored}
    known = {note.text for note in notes[What.SENDING]}
    yield from (f"message {text!r} was never sent" for text in by_text.keys() - known)
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for note in notes[What.SENT]:
        found = by_text.get(note.text)
        if found is None:
            yield f"message {note.text!r} to {note.place} was accepted as {note.id} and is gone"
            continue
        if (found.place, found.sequence) != (note.place, _sequence(note.id)):
            yield f"message {note.text!r} to {note.place} is {note.id}, stored as {found.sequence} of {found.place}"
        before, earlier = last.get((note.agent, note.place), (0, ""))
        if found.sequence <= before:
            yield f"message {note.text!r} of {note.place} was sent after {earlier!r} and stored before it"
        last[note.agent, note.place] = found.sequence, note.text


def _direct_reads(kept: list[Kept], notes: dict[What, list[Note]]) -> Iterator[str]:
    """Every direct message was shown to its reader, once unless marked as shown again; nothing else was."""
    inboxes = {(each.place, each.sequence): each.message for each in kept}
    shown: Counter[tuple[str, int]] = Counter()
    seen: set[tuple[str, int]] = set()
    for note in notes[What.READ]:
        key = (note.agent, _sequence(note.id))
        seen.add(key)
        shown[key] += not note.redelivered
        if key not in inboxes:
            yield f"{note.agent} was shown {note.id}, which is not in its inbox"
        elif inboxes[key].text != note.text:
            yield f"{note.agent} was shown {note.text!r} as {note.id}, which says {inboxes[key].text!r}"
    yield from (
        f"{agent} was shown {number} {count} times as new" for (agent, number), count in shown.items() if count > 1
    )
    readers = {note.agent for note in notes[What.READ]}
    for agent, sequence in inboxes.keys() - seen:
        if agent in readers:
            yield f"{agent} was never shown {sequence} of its inbox ({inboxes[agent, sequence].text!r})"


def _followed(kept: list[Kept], notes: list[Note]) -> Iterator[str]:
    """Who followed a channel was shown every message from where it began, in order, once."""
    stored: defaultdict[str, list[int]] = defaultdict(list)
    for each in kept:
        stored[each.place].append(each.sequence)
    shown: defaultdict[tuple[str, int, str], list[int]] = defaultdict(list)
    for note in notes:
        if note.what in (What.HEARD, What.FOLLOWING):
            shown[note.agent, note.life, note.place].append(_sequence(note.id))
    for (agent, life, place), sequences in shown.items():
        expected = [each for each in stored[place] if sequences[0] <= each <= sequences[-1]]
        if sequences != expected:
            missed, extra = sorted(set(expected) - set(sequences)), sorted(set(sequences) - set(expected))
            yield f"{agent} ({life}) followed {place}, missed {missed}, saw besides {extra}, or in disorder"


def _submissions(work: Checked, notes: dict[What, list[Note]]) -> Iterator[str]:
    """Every accepted item is in the books, once for each task; nothing else is."""
    ids: dict[tuple[str, str], str] = {}
    for note in notes[What.OFFERED]:
        if ids.setdefault((note.agent, note.task), note.id) != note.id:
            yield f"task {note.task} is {note.id} and {ids[note.agent, note.task]}"
        if note.id not in work.items:
            yield f"task {note.task} was accepted as {note.id} and is gone"
        elif work.items[note.id][-1].task_id != note.task:
            yield f"{note.id} is {work.items[note.id][-1].task_id}, offered as {note.task}"
    offered = {(note.agent, note.task) for note in notes[What.OFFERING]}
    tasks = Counter((states[-1].submitter, states[-1].task_id) for states in work.items.values())
    yield from (f"{agent}'s task {task} was never offered" for agent, task in tasks.keys() - offered)
    yield from (f"{agent}'s task {task} is there {count} times" for (agent, task), count in tasks.items() if count > 1)
    for item, states in work.items.items():
        if states[-1].status not in ENDED:
            yield f"{item} is {states[-1].status} in the end, last moved by {states[-1].last.move}"


def _claims(work: Checked, notes: dict[What, list[Note]]) -> Iterator[str]:
    """Every claim is in the books, and known to one process alone."""
    claims = work.claims()
    lives: defaultdict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
    for note in notes[What.CLAIMED]:
        lives[note.id, note.token].add((note.crew, note.life))
        if (note.id, note.agent, note.token) not in claims:
            yield f"{note.agent} was given {note.id} under lease token {note.token}, which is not in the books"
    for (item, token), which in lives.items():
        if len(which) > 1:
            yield f"{len(which)} processes were given {item} under lease token {token}"


def _claimed_once(work: Checked, harms: list[Harm]) -> Iterator[str]:
    """A request that claims one item and is asked again gets the same one, not another beside it.

    Unless the broker held the claim's record back: then it was not there when the request was asked again.
    """
    held: dict[str, tuple[str, float]] = {}  # by the op of the claim
    for stored, state in work.in_order():
        if state.last.move is Move.CLAIM:
            first, since = held.setdefault(state.claim_op, (state.id, stored.timestamp()))
            held_back = any(harm.delays and harm.began < stored.timestamp() and harm.ended > since for harm in harms)
            if first != state.id and not held_back:
                yield f"one request of {state.claimed_by} claimed {first} and, at {stored}, {state.id}"
        elif state.status is not Status.CLAIMED:
            held = {op: claim for op, claim in held.items() if claim[0] != state.id}


def _ends(work: Checked, notes: dict[What, list[Note]]) -> Iterator[str]:
    """What holders were told of their claims is in the books, under the lease tokens they had."""
    accepted = notes[What.ENDED]
    completed = [End(note.id, note.agent, note.token) for note in accepted if note.verb == "complete"]
    yield from (f"accepted, and not the end in the books: {end}" for end in work.unfounded(completed))
    for note in accepted:
        if not any(_is_end(note, before, after) for before, after in pairwise(work.items.get(note.id, ()))):
            yield f"{note.agent}'s accepted {note.verb} of {note.id} under lease token {note.token} is not there"
    for note in notes[What.SEEN]:
        if note.status != Status.DONE:
            yield f"{note.agent} completed {note.id} and was then shown it as {note.status}"
    for note in notes[What.CANCELLED]:
        last = work.items[note.id][-1]
        if note.status == Status.CANCELLED and last.status is not Status.CANCELLED:
            yield f"{note.id} was called off and is {last.status}"
    for item, states in work.items.items():
        made = Counter(after.ops[-1].op for before, after in pairwise(states) if after.ops and after.ops != before.ops)
        yield from (f"operation {op} moved {item} {count} times" for op, count in made.items() if op and count > 1)


def _refused(work: Checked, notes: dict[What, list[Note]]) -> Iterator[str]:
    """An end that was refused is not in the books; of one that came too late the result is kept."""
    tried = Counter((note.id, note.token, note.verb) for note in notes[What.ENDING])
    for note in notes[What.REFUSED]:
        states = work.items.get(note.id, [])
        if not note.verb or note.code in UNKNOWN or tried[note.id, note.token, note.verb] > 1:
            continue
        if any(_is_end(note, before, after) and _is_asked(before, after) for before, after in pairwise(states)):
            yield f"{note.agent}'s {note.verb} of {note.id} was refused ({note.code}), and is there"
        late = any((kept.by, kept.token) == (note.agent, note.token) for state in states for kept in state.review)
        if (note.verb, note.code) == ("complete", LeaseLost.code) and not late:
            yield f"{note.agent} completed {note.id} too late under lease token {note.token}; its result is not kept"


def _is_end(note: Note, before: WorkItem, after: WorkItem) -> bool:
    holder = before.claimed_by or before.last_holder
    return after.last.move in VERBS[note.verb] and (holder, before.token) == (note.agent, note.token)


def _is_asked(before: WorkItem, after: WorkItem) -> bool:
    """Return whether the move was somebody's deed, and not the leader's judgement."""
    return after.ops != before.ops and after.ops[-1].op != ""


def _listed(work: Checked, notes: dict[What, list[Note]]) -> Iterator[str]:
    """The fabric shows every item, once, as the books have it."""
    if not notes[What.LISTED]:
        return
    shown = Counter(note.id for note in notes[What.LISTED])
    yield from (f"{item} is not listed" for item in work.items.keys() - shown.keys())
    for note in notes[What.LISTED]:
        if shown[note.id] > 1 or note.status != work.items[note.id][-1].status:
            status = work.items[note.id][-1].status
            yield f"{note.id} is {status} and listed {shown[note.id]} times, as {note.status}"


def _told(books: Books) -> Iterator[str]:
    """Each offerer has one message of its item's end: not more of any end, and one of the last."""
    told: Counter[tuple[str, str]] = Counter()
    for each in books.messages:
        if each.message.message_type == WORK_RESULT:
            told[each.place, str(each.message.metadata["end"])] += 1
    expected: set[tuple[str, str]] = set()
    for states in books.work.items.values():
        last = states[-1]
        if last.notify is not Notify.INBOX:
            continue
        expected |= {(last.submitter, _end_name(state)) for state in states if state.ended_at is not None}
        must = last.status in ENDED and last.status is not Status.DISCARDED  # of that one the death was told
        if must and not told[last.submitter, _end_name(last)]:
            yield f"{last.id} ended as {last.status}, and its offerer was not told"
    yield from (f"the end {end} was told {count} times to {who}" for (who, end), count in told.items() if count > 1)
    yield from (f"{who} was told of an end {end} that never was" for who, end in told.keys() - expected)


def _end_name(state: WorkItem) -> str:
    assert state.ended_at is not None
    return f"{state.id}:{state.ended_at.timestamp():.6f}"


def _sequence(message_id: str) -> int:
    return int(message_id[len("m_d") + 6 :])
