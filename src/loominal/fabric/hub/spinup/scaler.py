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
from loominal.fabric.hub.spinup.starting import begin, end, give_up, reconcile
from loominal.model.errors import LoominalError
from loominal.model.launch import BOOTING, Launch, LaunchMove, LaunchStatus, overdue
from loominal.model.routing import route_of
from loominal.model.scaling import Place, Waiting, Worker, decide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loominal.fabric.hub.project import Project
    from loominal.model.target import Target
    from loominal.model.times import Instant

LOOK_SECONDS = 10.0  # between two looks at a launch of which nothing is heard
SWEEP_SECONDS = 100.0  # between two looks for what a launch that never got an agent has left behind,
SWEPT = timedelta(minutes=5)  # for so long after its end
DRAIN_SECONDS = 30.0  # that an agent which nobody needs has to end by itself

log = logging.getLogger(__name__)


def needs_rounds(project: Project) -> bool:
    """Return whether something may happen by itself: a launch is live, work waits for agents, a target is watched."""
    if project.launches.live() or project.drains:
        return True
    targets = project.targets.all()
    waits = bool(targets) and len(project.book.ready) > 0
    return waits or any(each.health_check.enabled for each in targets)


async def scale(project: Project) -> None:
    """Make one round. Raises: Conflict if another weft leads, BrokerUnavailable."""
    if project.launcher is None:
        return
    for launch in project.launches.live():
        await _follow_up(project, launch)
    _sweep(project)
    _watch_health(project)
    there = places(project)
    if not there and not project.launches.live():
        project.spinup.unmet = {}
        return
    now = project.clock.now()
    decision = decide(list(_waiting(project)), list(_workers(project, now)), there, project.policy, project.id, now)
    project.spinup.unmet = dict(decision.unmet)
    for start in decision.starts:
        target = project.targets.get(start.target)
        if target is not None:
            launch = await begin(project, target, launch_id=f"l_{secrets.token_hex(8)}", work=start.item)
            log.info("project %s: an agent is started on %s for %s", project.id, target.name, launch.work or "a person")
    for launch_id in decision.drains:
        launch = await launches.mark_draining(project, launch_id)
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


async def _follow_up(project: Project, launch: Launch) -> None:
    """Record what has become of a live launch, as far as it shows."""
    now, mono = project.clock.now(), project.clock.monotonic()
    record = project.agents.get(launch.agent)
    online = project.presence.is_online(launch.agent, mono, project.timings)
    if launch.status in BOOTING:
        if record is not None and record.registered and online:
            await launches.make(project, launch.id, LaunchMove.REGISTER)
        elif project.spinup.busy(launch.id):
            return
        elif overdue(launch, now):
            why = f"no agent has come within {launch.boot_timeout_seconds:.0f} s"
            project.spinup.run(launch.id, give_up(project, launch, LaunchMove.TIME_OUT, why))
        elif project.spinup.due(launch.id, LOOK_SECONDS * project.timings.pace, mono):
            project.spinup.run(launch.id, reconcile(project, launch))
        return
    if project.presence.is_gone(launch.agent, mono, project.timings) and not project.spinup.busy(launch.id):
        why = "nothing was left to do" if launch.draining else "its agent has ended, or nothing is heard of it any more"
        project.spinup.run(launch.id, give_up(project, launch, LaunchMove.STOP, why))


def _sweep(project: Project) -> None:
    """End what launches that are over have left behind: a start that came through after all, a process that hangs."""
    mono, since = project.clock.monotonic(), project.clock.now() - SWEPT
    for launch in project.launches.closed_since(since):
        if launch.registered_at is not None:
            continue
        again = project.spinup.due(launch.id, SWEEP_SECONDS * project.timings.pace, mono, at_once=False)
        if again and not project.spinup.busy(launch.id):
            project.spinup.run(launch.id, end(project, launch))


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
        if launch is None or launch.status is not LaunchStatus.REGISTERED:
            yield Worker(candidate=candidate)
            continue
        idle_since = None
        if not candidate.holding:
            known = (launch.registered_at, project.idle_since.get(candidate.id), project.led_since)
            idle_since = max((each for each in known if each is not None), default=None)
        yield Worker(candidate=candidate, target=launch.target, launch=launch.id, idle_since=idle_since)


def _place(project: Project, target: Target) -> Place:
    ours = project.launches.of_target(target.id)
    live = [each for each in ours if each.ended_at is None]
    failures, failed_at = project.launches.failures(target.id)
    health = project.targets.health.get(target.id)
    return Place(
        target=target,
        booting=sum(each.status in BOOTING for each in live),
        registered=sum(each.status is LaunchStatus.REGISTERED for each in live),
        draining=sum(each.draining for each in live),
        started_at=max((each.requested_at for each in ours), default=None),
        failed_at=failed_at,
        failures=failures,
        healthy=health is None or health.healthy,
        refused=unusable(project, target),
    )
