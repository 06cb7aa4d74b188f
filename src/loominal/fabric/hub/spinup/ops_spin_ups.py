"""The starting of agents, for operators: asked for, looked at."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.spinup.launcher import WHERE_ALLOWED
from loominal.fabric.hub.spinup.launches import spin_up_view
from loominal.fabric.hub.spinup.ops_targets import unusable
from loominal.fabric.hub.spinup.starting import begin
from loominal.fabric.operations.spin_ups import GetSpinUp, ListSpinUps, SpinUp, SpinUpList, SpinUpView
from loominal.model import cursor as cursors
from loominal.model.errors import BadCursor, Forbidden, IllegalMove
from loominal.model.grant import Role
from loominal.model.launch import Launch

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project


async def spin_up(project: Project, caller: Caller, args: SpinUp) -> SpinUpView:
    """Start one agent now: answered once that is recorded, and again the same for the same op.

    Raises: NotFound; IllegalMove if the target is disabled or at its maximum; Forbidden if this weft may not use it.
    """
    target = project.targets.find(args.target)
    launch_id = f"l_{hashlib.sha256(f'{project.id}:{caller.agent}:{caller.op}'.encode()).hexdigest()[:16]}"
    async with project.spinup.deciding:
        known = project.launches.get(launch_id)
        if known is not None:
            return spin_up_view(project, known)
        if not target.enabled:
            raise IllegalMove(f"target {target.name} is disabled", f"enable_target {target.name}")
        if why := unusable(project, target):
            raise Forbidden(f"target {target.name} is {why}", WHERE_ALLOWED)
        live = [each for each in project.launches.live() if each.target == target.id]
        if len(live) >= target.max_concurrent:
            raise IllegalMove(
                f"target {target.name} is at its maximum of {target.max_concurrent}",
                "raise maxConcurrent, or end an agent",
            )
        return spin_up_view(project, await begin(project, target, launch_id=launch_id, by=caller.agent))


async def list_spin_ups(project: Project, caller: Caller, args: ListSpinUps) -> SpinUpList:
    """Return a page of launches, the newest first. Raises: NotFound (the target), BadCursor."""
    query = f"spin-ups {args.target} {args.status}"
    target_id = project.targets.find(args.target).id if args.target else None
    found = [
        each
        for each in project.launches.all()
        if target_id in (None, each.target) and args.status in (None, each.status)
    ]
    behind = _place(args.cursor, query, project.generation)
    rest = [each for each in found if behind is None or (each.requested_at, each.id) < behind]
    views = (spin_up_view(project, each) for each in rest[: args.limit])
    page = tuple(fitting(views, caller.limit_bytes))
    more = 0 < len(page) < len(rest)
    last = rest[len(page) - 1] if more else None
    return SpinUpList(
        spin_ups=page,
        total=len(found),
        next_cursor=cursors.cursor(query, project.generation, *_written(last)) if last else None,
        unmet=tuple(project.spinup.unmet.values()),
    )


async def get_spin_up(project: Project, caller: Caller, args: GetSpinUp) -> SpinUpView:
    """Return one launch, for operators with the end of what a failed start printed. Raises: NotFound."""
    shows = caller.standing.role is Role.OPERATOR  # as a target's config, whose values a program may print
    return spin_up_view(project, project.launches.find(args.id), output=shows)


def _written(launch: Launch) -> tuple[int, str]:
    at = launch.requested_at
    return int(at.timestamp()) * 1_000_000 + at.microsecond, launch.id


def _place(cursor: str | None, query: str, generation: str) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    match cursors.position(cursor, query, generation):
        case (int() as micros, str() as launch_id) if 0 <= micros < 2**53:
            seconds, rest = divmod(micros, 1_000_000)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), launch_id
    raise BadCursor("this cursor was not made by Loominal")
