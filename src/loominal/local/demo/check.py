"""What must be true at the end of a demo. Each check looks at what was seen and says what is wrong, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from loominal.fabric.operations.spin_ups import SpinUpView
from loominal.local.demo import plan
from loominal.local.demo.journal import Deed
from loominal.local.demo.seen import Seen
from loominal.model.agent import AgentStatus
from loominal.model.grant import CORPORATE
from loominal.model.launch import LaunchStatus
from loominal.model.message import WORK_RESULT
from loominal.model.work import ENDED, DeadReason, Status

Problems = Iterator[str]
ENDS = ("complete", "recover")  # moves by which an item is done


class Check(msgspec.Struct, frozen=True):
    """A claim about the demo, and what speaks against it."""

    claim: str
    problems: tuple[str, ...]


def checks(seen: Seen) -> list[Check]:
    """Return every claim with its problems; the demo went well if there are none."""
    return [Check(claim, tuple(find(seen))) for claim, find in CLAIMS.items()]


def _every_item_ended_once(seen: Seen) -> Problems:
    done = 0
    for name in plan.ITEMS:
        item = seen.items.get(name)
        if item is None:
            yield f"{name} was not offered"
            continue
        wanted = Status.DEAD if name == plan.BROKEN else Status.DONE
        if item.status is not wanted:
            yield f"{name} is {item.status}"
        ends = sum(entry.move in ENDS for entry in item.history)
        if ends != (wanted is Status.DONE):
            yield f"{name} was completed {ends} times"
        attempts = {plan.BROKEN: 3, plan.LONG: 2}.get(name, 1)
        if item.attempt != attempts:
            yield f"{name} took {item.attempt} attempts, not {attempts}"
        done += item.status is Status.DONE
    if done < 12:
        yield f"only {done} items are done"


def _results_are_right(seen: Seen) -> Problems:
    for name, expected in seen.expected.items():
        if (item := seen.items.get(name)) and item.result != expected:
            yield f"{name}: {item.result} was delivered, {expected} is right"
    if missing := plan.ITEMS.keys() - seen.expected.keys() - {plan.BROKEN}:
        yield f"nobody checked {', '.join(sorted(missing))}"


def _claims_were_allowed(seen: Seen) -> Problems:
    for name, item in plan.ITEMS.items():
        claims = [entry.by for entry in seen.items[name].history if entry.move == "claim"] if name in seen.items else []
        if not claims:
            yield f"nobody claimed {name}"
        if sorted(claims) != sorted(entry.agent for entry in seen.claims(name)):
            yield f"{name}: the fabric says {claims} claimed it, the agents say otherwise"
        for claimer in claims:
            part = plan.CAST.get(claimer)
            boundaries = (*part.boundaries, *((CORPORATE,) if claimer == plan.GRANTED else ())) if part else ()
            if part is None or item.capability not in part.capabilities or item.boundary not in boundaries:
                yield f"{claimer} took {name}, which needs {item.capability} and {item.boundary}"


def _the_urgent_item_went_first(seen: Seen) -> Problems:
    urgent = plan.ITEMS[plan.URGENT]
    order = {item.name: claims[0].lease_token for item in plan.FIRST if (claims := seen.claims(item.name))}
    for item in plan.FIRST:
        same = (item.capability, item.boundary) == (urgent.capability, urgent.boundary)
        if same and order.get(item.name, 0) < order.get(plan.URGENT, 0):
            yield f"{item.name} was claimed before {urgent.name}"
    if plan.URGENT not in order:
        yield f"{urgent.name} was not claimed"


def _the_merged_item_waited(seen: Seen) -> Problems:
    item = seen.items.get(plan.MERGED)
    moves = [entry.move for entry in item.history] if item else []
    parents = plan.ITEMS[plan.MERGED].after
    if "claim" not in moves or moves[: moves.index("claim")].count("resolve") != len(parents):
        yield f"its history is {' '.join(moves)}"
    if plan.MERGED in seen.offered and seen.offered[plan.MERGED].status is not Status.BLOCKED:
        yield f"it began as {seen.offered[plan.MERGED].status}"


def _corporate_work_waited_for_its_grant(seen: Seen) -> Problems:
    offered, before, claims = seen.offered.get(plan.SECRET), seen.before_grant, seen.claims(plan.SECRET)
    if offered is None or offered.eligible:
        yield f"before the grant {offered.eligible if offered else 'nobody knows how many'} agents could take it"
    if before is None or before.status is not Status.READY:
        yield f"before the grant it was {before.status if before else 'not there'}"
    for handle in plan.CAST:
        refusals = len(seen.deeds(Deed.REFUSED, handle))
        wanted = 2 if handle == plan.REFUSED else 1
        if refusals != wanted:
            yield f"{handle} was refused the boundary {refusals} times, not {wanted}"
    if [entry.agent for entry in claims] != [plan.GRANTED]:
        yield f"it was claimed by {[entry.agent for entry in claims]}"


def _the_broken_item_is_a_dead_letter(seen: Seen) -> Problems:
    letter = next((letter for letter in seen.dead_letters if letter.task_id == plan.BROKEN), None)
    if letter is None:
        yield "it is not among the dead letters"
        return
    if letter.reason is not DeadReason.MAX_ATTEMPTS or letter.attempts != 3:
        yield f"it died of {letter.reason} after {letter.attempts} attempts"
    if [error.message.startswith("SyntaxError") for error in letter.errors] != [True] * 3:
        yield f"its errors are {[error.message for error in letter.errors]}"
    if len(seen.dead_letters) != 1:
        yield f"there are {len(seen.dead_letters)} dead letters"


def _the_killed_agents_item_was_finished_by_another(seen: Seen) -> Problems:
    item, claims = seen.items.get(plan.LONG), [entry.agent for entry in seen.claims(plan.LONG)]
    if seen.killed_at is None:
        yield "nobody was killed"
    if item is None or [entry.move for entry in item.history].count("lapse") != 1:
        yield "its claim did not lapse once"
    if len(claims) != 2 or claims[0] != plan.VICTIM or claims[1] == plan.VICTIM:
        yield f"it was claimed by {claims}"
    if seen.agents.get(plan.VICTIM) is None or seen.agents[plan.VICTIM].status is not AgentStatus.OFFLINE:
        yield f"{plan.VICTIM} is not offline"


def _each_offerer_was_told_once(seen: Seen) -> Problems:
    told = Counter(str(message.metadata.get("taskId")) for message in seen.inbox if message.message_type == WORK_RESULT)
    told.update(entry.item for entry in seen.deeds(Deed.TOLD) if entry.id)
    for name in plan.ITEMS:
        if told[name] != 1:
            yield f"{name} was told of {told[name]} times"
    for entry in seen.deeds(Deed.TOLD):
        if not entry.right:
            yield f"{entry.agent} got a wrong result for {entry.item}"


def _the_agents_met_and_talked(seen: Seen) -> Problems:
    for handle, part in plan.CAST.items():
        met = [entry.text for entry in seen.deeds(Deed.MET, handle)]
        if met != [" ".join(sorted(plan.CAST.keys() - {handle}))]:
            yield f"{handle} met {met}"
        answers = [(entry.peer, entry.text) for entry in seen.deeds(Deed.ANSWERED, handle)]
        if answers != [(part.asks, ", ".join(plan.CAST[part.asks].boundaries))]:
            yield f"{handle} asked {part.asks} and got {answers}"


def _a_late_joiner_reads_everything(seen: Seen) -> Problems:
    said = Counter([*seen.said, *(entry.id for entry in seen.deeds(Deed.SAID))])
    read = Counter(message.id for message in seen.history)
    if silent := {*plan.CAST, plan.BOSS} - {message.handle for message in seen.history}:
        yield f"nothing of {', '.join(sorted(silent))} is there"
    if said != read:
        yield f"{said.total()} messages were sent, {read.total()} read, {(said & read).total()} of them the same"
    if [message.timestamp for message in seen.history] != sorted(message.timestamp for message in seen.history):
        yield "they are not in the order of their times"


def _nothing_is_open(seen: Seen) -> Problems:
    for name, item in seen.items.items():
        if item.status not in ENDED or item.claimed_by:
            yield f"{name} is {item.status}, claimed by {item.claimed_by or 'nobody'}"


def _work_brought_them_up(seen: Seen) -> Problems:
    if seen.at_first != ():
        yield f"before there was work these were here: {seen.at_first}"
    items = {item.id: item.task_id for item in seen.items.values()}
    for launch in seen.launches:
        if launch.work_id not in items or launch.by:
            yield f"an agent of {launch.target} was started for {launch.work_id!r} by {launch.by!r}"
        if launch.registered_at is None:
            yield f"no agent of {launch.target} came: {launch.detail}"
    if missing := plan.CAST.keys() - {launch.handle for launch in seen.launches}:
        yield f"nobody started {', '.join(sorted(missing))}"


def _never_more_than_a_target_may_have(seen: Seen) -> Problems:
    for handle in plan.CAST:
        ours = [launch for launch in seen.launches if launch.target == handle]
        most = max((sum(_were_there_at(each.requested_at, ours)) for each in ours), default=0)
        if not 0 < most <= plan.MOST_AT_ONCE:
            yield f"{handle} had {most} at once, {plan.MOST_AT_ONCE} may be"


def _were_there_at(moment: datetime, launches: list[SpinUpView]) -> Iterator[bool]:
    for each in launches:
        yield each.requested_at <= moment and (each.ended_at is None or moment < each.ended_at)


def _the_fleet_is_at_zero(seen: Seen) -> Problems:
    for launch in seen.launches:
        if launch.status is not LaunchStatus.STOPPED:
            yield f"the agent of {launch.target} is {launch.status}: {launch.detail}"
    for handle in plan.CAST:
        left, wanted = len(seen.deeds(Deed.LEFT, handle)), handle != plan.VICTIM
        if left != wanted:
            yield f"{handle} left {left} times"


def _nothing_is_left(seen: Seen) -> Problems:
    yield from seen.left


CLAIMS: dict[str, Callable[[Seen], Problems]] = {
    f"all {len(plan.ITEMS)} items ended once, as planned": _every_item_ended_once,
    "every result is what the boss finds itself": _results_are_right,
    "every claim had the capability and the boundary": _claims_were_allowed,
    "the urgent item was claimed before its like": _the_urgent_item_went_first,
    "the merged item waited for both it depends on": _the_merged_item_waited,
    "corporate work waited for its grant, and its agent": _corporate_work_waited_for_its_grant,
    "the broken item is a dead letter with three errors": _the_broken_item_is_a_dead_letter,
    "the killed agent's item was finished by another": _the_killed_agents_item_was_finished_by_another,
    "each offerer was told of each end exactly once": _each_offerer_was_told_once,
    "the agents met, asked and were answered": _the_agents_met_and_talked,
    "a late joiner reads the whole channel": _a_late_joiner_reads_everything,
    "nothing is claimed or waiting any more": _nothing_is_open,
    "there was no agent until work brought them up": _work_brought_them_up,
    "no target had more agents at once than it may": _never_more_than_a_target_may_have,
    "the fleet was drained to zero": _the_fleet_is_at_zero,
    "no process and no file is left": _nothing_is_left,
}
