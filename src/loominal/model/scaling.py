"""Scaling: how many agents to start where, and which to end. One pure function, `decide`, asked by one duty.

Source: the design, section 8. Need of a route = its ready items, less the free slots and the booting ones that match.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from loominal.model.agent import AgentStatus
from loominal.model.grant import Grant
from loominal.model.policy import Policy, Rule
from loominal.model.routing import Candidate, Route, barred
from loominal.model.target import Target
from loominal.model.times import Instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LISTENS_SECONDS = 60.0  # an agent that polled so recently counts as one that will take work
BACKOFF_SECONDS = 5.0  # after a failed start; doubled with each more in a row
LONGEST_BACKOFF_SECONDS = 300.0
MOST_TOLD = 10  # targets of which one sentence says what keeps them from a route
MOST_STARTS = 50  # in one round: whatever is wrong with the numbers, a machine survives that


class Bar(StrEnum):
    """The rules that keep a target from being used for a route, in the order they are asked."""

    ASSIGNED = "assigned"
    DISABLED = "disabled"
    NOT_ALLOWED = "not-allowed"
    UNHEALTHY = "unhealthy"
    POLICY = "policy"
    BOUNDARY = "boundary"
    CAPABILITY = "capability"
    TYPE = "type"
    FULL = "full"
    BACKOFF = "backoff"
    COOLDOWN = "cooldown"


LASTING = frozenset(Bar) - {Bar.FULL, Bar.BACKOFF, Bar.COOLDOWN}  # waiting alone does not take these away


class Barred(msgspec.Struct, frozen=True):
    """The first rule that keeps a target from being used; `phrase` completes "the target is …"."""

    bar: Bar
    phrase: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The ready items of one route; `oldest` is the id of the one that waits longest."""

    route: Route
    count: int
    oldest: str = ""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as scaling sees it; one that no launch started has no `target` and is never ended."""

    candidate: Candidate
    target: str = ""
    launch: str = ""
    idle_since: Instant | None = None  # since when it has held nothing; None: it holds something, or nobody knows


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A target with what goes on there."""

    target: Target
    booting: int = 0  # launches whose agent is yet to come
    registered: int = 0  # the others that are not over
    draining: int = 0  # of them: told to end
    started_at: Instant | None = None  # when a launch was last requested
    failed_at: Instant | None = None
    failures: int = 0  # in a row
    ailing: str = ""  # what its last check found wrong
    refused: str = ""  # why this weft may not use it at all

    @property
    def live(self) -> int:
        """How many launches count against the maximum."""
        return self.booting + self.registered


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One agent to start."""

    target: str
    route: Route
    item: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and for each route that gets less than it needs, why."""

    starts: tuple[Start, ...] = ()
    drains: tuple[str, ...] = ()  # launches whose agents are to end
    unmet: dict[Route, str] = {}


def decide(
    waiting: Sequence[Waiting],
    workers: Sequence[Worker],
    places: Sequence[Place],
    policy: Policy,
    project: str,
    now: Instant,
) -> Decision:
    """Return which agents to start and which to end.

    Never more on a target than its maximum; none where an agent that may take the work is free.
    """
    needed, used = _need(waiting, workers, places, policy, project, now)
    planned: Counter[str] = Counter()
    starts: list[Start] = []
    unmet: dict[Route, str] = {}
    for each in _most_constrained(waiting, places, policy, now):
        for _ in range(needed[each.route]):
            place = _best(each.route, places, planned, policy, now) if len(starts) < MOST_STARTS else None
            if place is None:
                unmet[each.route] = why_not(each.route, places, planned, policy, now)
                break
            planned[place.target.id] += 1
            starts.append(Start(target=place.target.id, route=each.route, item=each.oldest))
    drains = () if starts else tuple(_drains(workers, places, used, now))
    return Decision(starts=tuple(starts), drains=drains, unmet=unmet)


def barred_target(route: Route, place: Place, policy: Policy, now: Instant, planned: int = 0) -> Barred | None:
    """Return the first rule by which no agent may be started on `place` for `route` now, None if one may.

    `planned` are starts that this round has decided on already.
    """
    return _never(route, place, policy) or _not_now(place, now, planned)


def why_not(route: Route, places: Iterable[Place], planned: Counter[str], policy: Policy, now: Instant) -> str:
    """Return one sentence: why no agent is started for `route`, with each target and what keeps it from that.

    Those that come nearest are named first.
    """
    work = _work_of(route)
    found = [(place, barred_target(route, place, policy, now, planned[place.target.id])) for place in places]
    if not found:
        return f"No agent is started for {work}: there is no target."
    rules = list(Bar)
    kept = sorted(((place, why) for place, why in found if why), key=lambda each: -rules.index(each[1].bar))
    told = [f"{place.target.name} is {why.phrase}" for place, why in kept]
    if not told:
        return f"No more agents are started for {work} at once: one round starts {MOST_STARTS} at most."
    shown = "; ".join(told[:MOST_TOLD]) + (f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else "")
    return f"No agent is started for {work} now: {shown}."


def _work_of(route: Route) -> str:
    """Return which work it is, in words."""
    needed = f" for {', '.join(map(repr, sorted(route.capabilities)))}" if route.capabilities else ""
    only = f" by agents of the type {route.required_agent_type!r}" if route.required_agent_type else ""
    assigned = ", assigned to one agent" if route.assign_to else ""
    return f"{route.boundary!r} work{needed}{only}{assigned}"


def _never(route: Route, place: Place, policy: Policy) -> Barred | None:
    """Return what keeps `place` from `route` for as long as nobody changes anything."""
    target, rule = place.target, policy.boundaries.get(route.boundary)
    if route.assign_to:
        return Barred(Bar.ASSIGNED, "not asked: the item is assigned to one agent")
    if not target.enabled:
        return Barred(Bar.DISABLED, "disabled")
    if place.refused:
        return Barred(Bar.NOT_ALLOWED, place.refused)
    if place.ailing:
        return Barred(Bar.UNHEALTHY, f"unhealthy ({place.ailing})")
    if rule is None or policy.closed or not _lets(rule, target):
        return Barred(Bar.POLICY, f"not one that the policy lets start agents for {route.boundary!r} work")
    if route.boundary not in target.boundaries:
        return Barred(Bar.BOUNDARY, f"not for the boundary {route.boundary!r}")
    if missing := route.capabilities - set(target.capabilities):
        return Barred(Bar.CAPABILITY, f"without {', '.join(map(repr, sorted(missing)))}")
    if route.required_agent_type not in ("", target.agent_type):
        return Barred(Bar.TYPE, f"of the type {target.agent_type!r}, not {route.required_agent_type!r}")
    return None


def _lets(rule: Rule, target: Target) -> bool:
    named = not rule.targets or target.name in rule.targets or target.id in rule.targets
    return rule.spin_up and named and (not rule.agent_types or target.agent_type in rule.agent_types)


def _not_now(place: Place, now: Instant, planned: int) -> Barred | None:
    """Return what keeps `place` from starting one more at this moment."""
    target = place.target
    if place.live + planned >= target.max_concurrent:
        return Barred(Bar.FULL, f"at its maximum of {target.max_concurrent}")
    if place.failures:
        left = _left(place.failed_at, backoff_seconds(place.failures), now)
        if left > 0 or place.booting or planned:  # after a failure one at a time, until one has come
            tried = "its next start is awaited" if left <= 0 else f"tried again in {left:.0f} s"
            return Barred(Bar.BACKOFF, f"failing ({place.failures} in a row), {tried}")
    if (left := _left(place.started_at, target.cooldown_seconds, now)) > 0:
        return Barred(Bar.COOLDOWN, f"cooling down for {left:.0f} s")
    return None


def backoff_seconds(failures: int) -> float:
    """Return how long a target rests after its `failures`th failed start in a row."""
    return min(BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF_SECONDS)


def _left(since: Instant | None, seconds: float, now: Instant) -> float:
    return 0.0 if since is None else seconds - (now - since).total_seconds()


def _need(
    waiting: Sequence[Waiting],
    workers: Sequence[Worker],
    places: Sequence[Place],
    policy: Policy,
    project: str,
    now: Instant,
) -> tuple[Counter[Route], set[str]]:
    """Return how many ready items of each route no slot is left for, and the agents that some are left to."""
    room = {each.candidate.id: each.candidate.max_concurrent - each.candidate.holding for each in workers}
    free = [each.candidate for each in workers if _listens(each.candidate, now)]
    for place in places:
        if place.booting:
            coming = _coming(place.target)
            room[coming.id] = place.booting
            free.append(coming)
    takers = {
        each.route: [who for who in free if not barred(each.route, who, policy, project, now)] for each in waiting
    }
    needed: Counter[Route] = Counter()
    used: set[str] = set()
    for each in sorted(waiting, key=lambda one: (len(takers[one.route]), one.oldest)):
        left = each.count
        for who in sorted(takers[each.route], key=lambda one: (len(one.capabilities), one.id)):
            taken = min(left, max(room[who.id], 0))
            room[who.id] -= taken
            left -= taken
            if taken:
                used.add(who.id)
        needed[each.route] = left
    return needed, used


def _listens(candidate: Candidate, now: Instant) -> bool:
    polled = candidate.polled_at is not None and (now - candidate.polled_at).total_seconds() <= LISTENS_SECONDS
    return polled and candidate.status is not AgentStatus.OFFLINE


def _coming(target: Target) -> Candidate:
    """Return the agents that boot on `target` as one, as they will be."""
    boundaries = frozenset(target.boundaries)
    grant = Grant(
        id=target.id, user="", agent_types=(target.agent_type,), boundaries=target.boundaries, capabilities=()
    )
    return Candidate(
        id=f"coming {target.id}",
        agent_type=target.agent_type,
        capabilities=frozenset(target.capabilities),
        boundaries=boundaries,
        grants=(grant,),
    )


def _most_constrained(
    waiting: Sequence[Waiting], places: Sequence[Place], policy: Policy, now: Instant
) -> list[Waiting]:
    """Return the routes, those for which the fewest targets can be used first."""

    def usable(each: Waiting) -> int:
        return sum(barred_target(each.route, place, policy, now) is None for place in places)

    return sorted(waiting, key=lambda each: (usable(each), each.oldest))


def _best(route: Route, places: Iterable[Place], planned: Counter[str], policy: Policy, now: Instant) -> Place | None:
    """Return where to start the next agent: a preferred type, then the tightest, then the emptiest target."""
    rule = policy.boundaries.get(route.boundary, Rule())
    preferred = (route.preferred_agent_type,) if route.preferred_agent_type else rule.preferred

    def rank(place: Place) -> tuple[bool, int, float, str]:
        target = place.target
        load = (place.live + planned[target.id]) / target.max_concurrent
        return (bool(preferred) and target.agent_type not in preferred, len(target.capabilities), load, target.name)

    usable = (each for each in places if barred_target(route, each, policy, now, planned[each.target.id]) is None)
    return min(usable, key=rank, default=None)


def _drains(workers: Iterable[Worker], places: Iterable[Place], used: set[str], now: Instant) -> Iterable[str]:
    """Yield the launches whose agents have been idle for long, one of each target at a time."""
    by_id = {place.target.id: place for place in places}
    taken: set[str] = set()
    for each in sorted(workers, key=lambda one: (one.idle_since is None, one.idle_since, one.launch)):
        place = by_id.get(each.target)
        if each.idle_since is None or not each.launch or each.candidate.holding or each.candidate.draining:
            continue
        idle_seconds = place.target.idle_seconds if place else 0.0  # of a target that is gone nobody waits
        busy = each.target in taken or (place is not None and place.draining > 0) or each.candidate.id in used
        if not busy and (now - each.idle_since).total_seconds() >= idle_seconds:
            taken.add(each.target)
            yield each.launch
