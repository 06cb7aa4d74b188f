"""The autoscaler's round, made by the leader: closes what is over, starts what work needs, ends what nobody needs."""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loominal.fabric.hub.agents.admission import PERSON
from loominal.fabric.hub.agents.draining import drain
from loominal.fabric.hub.spinup import launches
from loominal.fabric.hub.spinup.ops_targets import look, unusable
from loominal.fabric.hub.spinup.starting import begin, close, finish, has_come, reconcile, sweep
from loominal.model.errors import BrokerUnavailable, LoominalError
from loominal.model.launch import BOOTING, Launch, LaunchMove, LaunchStatus, overdue
from loominal.model.routing import route_of
from loominal.model.scaling import LISTENS_SECONDS, Place, Waiting, Worker, decide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loominal.fabric.hub.project import Project
    from loominal.model.target import Target
    from loominal.model.times import Instant

LOOK_SECONDS = 10.0  # between two looks at a launch of which nothing is heard
SWEEP_SECONDS = 100.0  # between two looks for what a launch that is over has left behind,
SWEPT = timedelta(minutes=5)  # for so long after its end
FORGET_SECONDS = 60.0  # between two looks for launches that were over long ago
GONE = "its agent has ended, or nothing is heard of it any more"
GONE_FRUITLESS = "its agent came, took nothing and has ended again"
DRAIN_SECONDS = 30.0  # that an agent which nobody needs has to end by itself

log = logging.getLogger(__name__)


async def scale(project: Project, heard_until: float | None) -> None:
    """Make one round. Raises: Conflict if another weft leads, BrokerUnavailable.

    Who has ended is judged as of `heard_until`, when everybody was heard. If nobody was, or that is long ago, nothing
    is decided: who is online now is not known.
    """
    if project.launcher is None:
        return
    for launch in project.launches.live():
        try:
            await _follow_up(project, launch, heard_until)
        except BrokerUnavailable:
            raise
        except LoominalError as error:  # this launch cannot be moved now; the others can
            log.warning("project %s: launch %s: %s", project.id, launch.id, error)
    _sweep(project)
    _watch_health(project)
    if project.spinup.due("forgetting", FORGET_SECONDS, project.clock.monotonic()):
        await launches.collect(project)
    old = 2 * project.timings.round_seconds + project.timings.stall_seconds
    if heard_until is not None and project.clock.monotonic() - heard_until < old:
        await _decide(project)


async def _decide(project: Project) -> None:
    """Start what work needs, and let go what nobody needs. Raises: as `scale`."""
    async with project.spinup.deciding:
        there = places(project)
        if not there and not project.launches.live():
            project.spinup.unmet = {}
            return
        now = project.clock.now()
        found = decide(list(_waiting(project)), list(_workers(project, now)), there, project.policy, project.id, now)
        project.spinup.unmet = dict(found.unmet)
        for start in found.starts:
            target = project.targets.get(start.target)
            if target is not None:
                launch = await begin(project, target, launch_id=f"l_{secrets.token_hex(8)}", work=start.item)
                log.info("project %s: an agent is started on %s for %s", project.id, target.name, launch.work)
    for launch_id in found.drains:
        launch = project.launches.find(launch_id)
        if not project.book.held_by.get(launch.agent):  # it may have got something meanwhile
            await _let_go(project, await launches.mark_draining(project, launch_id))


async def _let_go(project: Project, launch: Launch) -> None:
    await drain(project, launch.agent, f"nothing to do for target {launch.target_name}", DRAIN_SECONDS)


def spins_up(project: Project, item_id: str) -> bool:
    """Return whether an agent is being started, or will be in the next round, because of that item's route."""
    entry = project.book.get(item_id)
    if entry is None or project.launcher is None or not len(project.targets):
        return False
    now = project.clock.now()
    decision = decide(
        list(_waiting(project)), list(_workers(project, now)), places(project), project.policy, project.id, now
    )
    wanted = {start.route for start in decision.starts}
    booting = {launch.work for launch in project.launches.live() if launch.status in BOOTING}
    return route_of(entry.item) in wanted or item_id in booting


def places(project: Project) -> list[Place]:
    """Return every target, by name, with what goes on there."""
    return [_place(project, each) for each in project.targets.all()]


async def _follow_up(project: Project, launch: Launch, heard_until: float | None) -> None:
    """Record what has become of a live launch, as far as it shows, and go on with what a former leader left undone."""
    agent, mono, spinup = launch.agent, project.clock.monotonic(), project.spinup
    looks = not spinup.busy(launch.id)
    if launch.closing is not None:
        if looks and spinup.due(launch.id, LOOK_SECONDS * project.timings.pace, mono):
            spinup.run(launch.id, finish(project, launch))
    elif launch.status in BOOTING:
        await _await_agent(project, launch)
    elif heard_until is not None and project.presence.is_gone(agent, heard_until, project.timings):
        fruitless = _is_fruitless(project, launch)
        why = "nothing was left to do" if launch.draining else GONE_FRUITLESS if fruitless else GONE
        spinup.run(launch.id, close(project, launch, LaunchMove.STOP, why, fruitless=fruitless))
    elif launch.draining and agent not in project.drains and project.presence.is_online(agent, mono, project.timings):
        await _let_go(project, launch)


def _is_fruitless(project: Project, launch: Launch) -> bool:
    """Return whether the agent of a launch, which is gone, came for nothing: the next would, too."""
    took = launch.agent in project.idle_since or bool(project.book.held_by.get(launch.agent))
    assert launch.registered_at is not None
    lived = (project.clock.now() - launch.registered_at).total_seconds()
    told = launch.draining or launch.agent in project.drains
    return not (told or took) and lived < LISTENS_SECONDS


async def _await_agent(project: Project, launch: Launch) -> None:
    """Record that the agent of a launch has come, or find out why it has not."""
    spinup = project.spinup
    if has_come(project, launch):
        await launches.make(project, launch.id, LaunchMove.REGISTER)
    elif spinup.busy(launch.id):
        return
    elif project.clock.settled and overdue(launch, project.clock.now()):
        spinup.run(launch.id, reconcile(project, launch, late=True))
    elif spinup.due(launch.id, LOOK_SECONDS * project.timings.pace, project.clock.monotonic()):
        spinup.run(launch.id, reconcile(project, launch))


def _sweep(project: Project) -> None:
    """End what launches that are over may have left behind.

    That is an agent which a former leader started only after the launch was closed, being frozen meanwhile, and what
    could not be ended.
    """
    mono, since = project.clock.monotonic(), project.clock.now() - SWEPT
    for launch in project.launches.closed_since(since):
        if launch.registered_at is not None and not launch.unended:
            continue
        again = project.spinup.due(launch.id, SWEEP_SECONDS * project.timings.pace, mono, at_once=False)
        if again and not project.spinup.busy(launch.id):
            project.spinup.run(launch.id, sweep(project, launch))


def _watch_health(project: Project) -> None:
    """Look at the targets whose time has come."""
    mono = project.clock.monotonic()
    for target in project.targets.all():
        check = target.health_check
        if check.enabled and project.spinup.due(target.id, check.interval_seconds, mono):
            project.spinup.run(target.id, _look(project, target))


async def _look(project: Project, target: Target) -> None:
    try:
        await look(project, target)
    except LoominalError as error:
        log.info("project %s: the health of %s is not known: %s", project.id, target.name, error)


def _waiting(project: Project) -> Iterator[Waiting]:
    for route, count in project.book.ready.waiting().items():
        oldest = project.book.ready.first(route, 1)
        yield Waiting(route=route, count=count, oldest=oldest[0] if oldest else "")


def _workers(project: Project, now: Instant) -> Iterator[Worker]:
    """Yield every online agent but people, with what a launch makes of it."""
    mono = project.clock.monotonic()
    by_agent = {launch.agent: launch for launch in project.launches.live()}
    for _, candidate in project.crowd.members():
        if candidate.agent_type == PERSON:
            continue
        polled_at = project.presence.polled_at(candidate.id)
        if candidate.polled_at is None and polled_at is not None:
            candidate = replace(candidate, polled_at=now - timedelta(seconds=max(mono - polled_at, 0.0)))
        launch = by_agent.get(candidate.id)
        if launch is None or launch.status is not LaunchStatus.REGISTERED or launch.closing is not None:
            yield Worker(candidate=candidate)
            continue
        idle_since = None
        if not (candidate.holding or _is_coming(project, launch)):
            known = (launch.registered_at, project.idle_since.get(candidate.id), project.led_since)
            idle_since = max((each for each in known if each is not None), default=None)
        yield Worker(candidate=candidate, target=launch.target, launch=launch.id, idle_since=idle_since)


def _is_coming(project: Project, launch: Launch) -> bool:
    """Return whether the agent of a live launch is expected to ask for work.

    It boots, this leader has not heard of it yet, or it has registered just now.
    """
    if launch.closing is not None or launch.draining:
        return False
    if launch.registered_at is None or project.presence.seen_at(launch.agent) is None:
        return True
    recent = (project.clock.now() - launch.registered_at).total_seconds() < LISTENS_SECONDS
    return recent and project.presence.polled_at(launch.agent) is None


def _ailing(project: Project, target: Target) -> str:
    """Return why nothing is started on a target that is looked at from time to time.

    One that a person has tested is not looked at again, so what was found then keeps nothing from being tried.
    """
    health = project.targets.health.get(target.id)
    return health.detail if health and not health.healthy and target.health_check.enabled else ""


def _place(project: Project, target: Target) -> Place:
    ours = project.launches.of_target(target.id)
    live = [each for each in ours if each.ended_at is None]
    failures, failed_at = project.launches.failures(target.id)
    coming = sum(_is_coming(project, each) for each in live)
    return Place(
        target=target,
        booting=coming,
        registered=len(live) - coming,
        draining=sum(each.draining and each.closing is None for each in live),
        started_at=max((each.requested_at for each in ours), default=None),
        failed_at=failed_at,
        failures=failures,
        ailing=_ailing(project, target),
        refused=unusable(project, target),
    )
