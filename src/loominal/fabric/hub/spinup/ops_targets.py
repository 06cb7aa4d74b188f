"""Targets, for operators: made, looked at, changed, tested. Names are unique, and the same op again has one effect."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from loominal.fabric.hub.agents.events_log import EventKind, record_event
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.spinup import targets
from loominal.fabric.hub.spinup.launcher import WHERE_ALLOWED
from loominal.fabric.operations.targets import (
    AddTarget,
    Checks,
    ChecksView,
    DisableTarget,
    EnableTarget,
    GetTarget,
    HealthView,
    ListTargets,
    RemoveTarget,
    TargetHealth,
    TargetList,
    TargetView,
    TestTarget,
    UpdateTarget,
)
from loominal.model.errors import Forbidden, LoominalError
from loominal.model.grant import Role
from loominal.model.launch import LaunchStatus
from loominal.model.mechanism import Mechanism
from loominal.model.target import Health, HealthCheck, Target, checked

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project

RUNS_HERE = (Mechanism.LOCAL, Mechanism.SSH)  # commands, with the keys and files of the user as whom weft runs
NOT_HERE = "in open mode targets come from weft's own file alone"


async def list_targets(project: Project, caller: Caller, args: ListTargets) -> TargetList:
    """Return every target, by name, as far as the answer has room."""
    found = [target_view(project, caller, each) for each in project.targets.all()]
    return TargetList(targets=tuple(fitting(found, caller.limit_bytes)), total=len(found))


async def get_target(project: Project, caller: Caller, args: GetTarget) -> TargetView:
    """Return one target. Raises: NotFound."""
    return target_view(project, caller, project.targets.find(args.target))


async def add_target(project: Project, caller: Caller, args: AddTarget) -> TargetView:
    """Store a new target. Raises: InvalidArgument with the field that is wrong, Duplicate if the name is taken."""
    _check_mode(project)
    _check_reach(caller, args.mechanism)
    now = project.clock.now()
    digest = hashlib.sha256(f"{project.id}:{caller.agent}:{caller.op}".encode()).hexdigest()
    made = checked(
        Target(
            id=f"t_{digest[:16]}",
            name=args.name,
            description=args.description,
            agent_type=args.agent_type,
            capabilities=args.capabilities,
            boundaries=args.boundaries,
            mechanism=args.mechanism,
            config=msgspec.Raw(msgspec.json.encode(args.config)),
            max_concurrent=args.max_concurrent,
            cooldown_seconds=args.cooldown_seconds,
            idle_seconds=args.idle_seconds,
            boot_timeout_seconds=args.boot_timeout_seconds,
            health_check=_check(args.health_check),
            tags=args.tags,
            enabled=args.enabled is not False,
            created_at=now,
            updated_at=now,
            ops=(caller.op,),
        )
    )
    _check_boundaries(project, made)
    before = project.targets.get(made.id)
    view = target_view(project, caller, await targets.add(project, _placed(project, made)))
    if before is None:
        await _tell(project, EventKind.TARGET_REGISTERED, view)
    return view


async def update_target(project: Project, caller: Caller, args: UpdateTarget) -> TargetView:
    """Change a target; what is left out stays.

    Raises: as `add_target`, NotFound, and IllegalMove if `version` is not the present one's.
    """
    fields = {name: getattr(args, name) for name in args.__struct_fields__ if name not in ("target", "version")}
    given = {name: value for name, value in fields.items() if value is not None}
    if args.config is not None:
        given["config"] = msgspec.Raw(msgspec.json.encode(args.config))
    if args.health_check is not None:
        given["health_check"] = _check(args.health_check)
    now = project.clock.now()

    def make(target: Target) -> Target:
        _check_reach(caller, target.mechanism, args.mechanism or target.mechanism)
        made = checked(replace(target, **given, updated_at=now))
        _check_boundaries(project, made)
        return made if args.config is None else _placed(project, made)

    changed = await _changed(project, caller, args.target, EventKind.TARGET_UPDATED, make, args.version)
    project.targets.health.pop(changed.id, None)  # found of what it was
    return replace(changed, health=None)


async def enable_target(project: Project, caller: Caller, args: EnableTarget) -> TargetView:
    """Let agents be started there again. Raises: NotFound."""
    now = project.clock.now()
    kind = EventKind.TARGET_ENABLED
    return await _changed(project, caller, args.target, kind, lambda it: replace(it, enabled=True, updated_at=now))


async def disable_target(project: Project, caller: Caller, args: DisableTarget) -> TargetView:
    """Start no more agents there; those that were started go on. Raises: NotFound."""
    now = project.clock.now()
    kind = EventKind.TARGET_DISABLED
    return await _changed(project, caller, args.target, kind, lambda it: replace(it, enabled=False, updated_at=now))


async def remove_target(project: Project, caller: Caller, args: RemoveTarget) -> TargetView:
    """Forget a target; agents that it has started go on until they are idle. Raises: NotFound."""
    _check_mode(project)
    target = project.targets.find(args.target)
    view = target_view(project, caller, target)
    await targets.remove(project, target)
    await _tell(project, EventKind.TARGET_REMOVED, view)
    return view


async def test_target(project: Project, caller: Caller, args: TestTarget) -> HealthView:
    """Ask the target's mechanism whether an agent could be started there. Raises: NotFound."""
    target = project.targets.find(args.target)
    found = await look(project, target)
    return _health(found)


test_target.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


async def look(project: Project, target: Target) -> Health:
    """Return what a look at a target finds, and keep it."""
    began = time.monotonic()
    healthy = True
    try:
        if project.launcher is None:
            raise Forbidden("nothing is started on this fabric", WHERE_ALLOWED)
        if why := project.launcher.refusal(target):
            raise Forbidden(f"the target is {why}", WHERE_ALLOWED)
        async with asyncio.timeout(target.health_check.timeout_seconds):
            detail = await project.launcher.check(target)
    except TimeoutError:
        healthy, detail = False, f"no answer came within {target.health_check.timeout_seconds:g} s"
    except LoominalError as error:
        healthy, detail = False, error.message + (f" ({error.hint})" if error.hint else "")
    latency_ms = round((time.monotonic() - began) * 1000, 1)
    found = Health(healthy=healthy, detail=detail, latency_ms=latency_ms, checked_at=project.clock.now())
    before = project.targets.health.get(target.id)
    project.targets.health[target.id] = found
    if before is None or before.healthy is not healthy:
        await record_event(
            project, EventKind.TARGET_HEALTH, TargetHealth(id=target.id, name=target.name, health=_health(found))
        )
    return found


def target_view(project: Project, caller: Caller, target: Target) -> TargetView:
    """Return a target as lists show it; its config only to operators."""
    launches = project.launches.of_target(target.id)
    health = project.targets.health.get(target.id)
    failures, _ = project.launches.failures(target.id)
    shows = caller.standing.role is Role.OPERATOR
    return TargetView(
        id=target.id,
        version=project.targets.revision(targets.target_key(target.id)),
        name=target.name,
        description=target.description,
        agent_type=target.agent_type,
        capabilities=target.capabilities,
        boundaries=target.boundaries,
        mechanism=target.mechanism,
        config=msgspec.json.decode(target.config) if shows else {},
        max_concurrent=target.max_concurrent,
        cooldown_seconds=target.cooldown_seconds,
        idle_seconds=target.idle_seconds,
        boot_timeout_seconds=target.boot_timeout_seconds,
        health_check=ChecksView(
            enabled=target.health_check.enabled,
            interval_seconds=target.health_check.interval_seconds,
            timeout_seconds=target.health_check.timeout_seconds,
        ),
        tags=target.tags,
        enabled=target.enabled,
        health=_health(health) if health else None,
        booting=project.launches.booting(target.id),
        running=sum(each.status is LaunchStatus.REGISTERED for each in launches),
        failures=failures,
        unusable=unusable(project, target) or None,
        created_at=target.created_at,
        updated_at=target.updated_at,
    )


def unusable(project: Project, target: Target) -> str:
    """Return why no agent can be started on `target` at all; "" if one can."""
    if project.launcher is None:
        return "on a fabric whose weft may run nothing"
    return project.launcher.refusal(target)


async def _changed(
    project: Project, caller: Caller, text: str, kind: EventKind, make: targets.Change, version: int | None = None
) -> TargetView:
    _check_mode(project)
    before = project.targets.find(text)
    after = await targets.change(project, before.id, caller.op, make, version)
    view = target_view(project, caller, after)
    if after != before:
        await _tell(project, kind, view)
    return view


async def _tell(project: Project, kind: EventKind, view: TargetView) -> None:
    """Record an event of a target, without its config: those may read it who are no operators."""
    await record_event(project, kind, replace(view, config={}))


def _check_reach(caller: Caller, *mechanisms: Mechanism) -> None:
    """Raises: Forbidden if somebody who is nobody elsewhere would have weft's own user run commands.

    They could read the keys of every project.
    """
    for each in mechanisms:
        if each in RUNS_HERE:
            caller.check_reach((), f"a target of the mechanism {each}, which runs commands as the fabric's own user,")


def _check_mode(project: Project) -> None:
    if project.authority.open_mode:
        raise Forbidden("nobody is authenticated here, so nobody may set a target", NOT_HERE)


def _check_boundaries(project: Project, target: Target) -> None:
    """Raises: BoundaryRefused for a boundary that the policy does not name."""
    for each in target.boundaries:
        project.policy.rule(each)


def _placed(project: Project, target: Target) -> Target:
    """Return `target` with what its config leaves open: another weft, which may lead later, would fill it otherwise."""
    return target if project.launcher is None else replace(target, config=project.launcher.config(target))


def _check(given: Checks) -> HealthCheck:
    return HealthCheck(
        enabled=given.enabled, interval_seconds=given.interval_seconds, timeout_seconds=given.timeout_seconds
    )


def _health(health: Health) -> HealthView:
    return HealthView(
        healthy=health.healthy, detail=health.detail, latency_ms=health.latency_ms, checked_at=health.checked_at
    )
