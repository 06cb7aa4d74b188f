"""Starting one agent, and finding out what became of it: recorded first, then the mechanism is asked, in a task.

A lost answer is looked up, never asked again blindly; whatever a former leader left half done is looked up, too.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.hub.access.fabric_records import Invitation
from loominal.fabric.hub.spinup import launches
from loominal.fabric.invitation import Token
from loominal.model.errors import (
    Conflict,
    Forbidden,
    IllegalMove,
    LoominalError,
    NotFound,
    StartFailed,
    Unreachable,
)
from loominal.model.launch import Condition, Launch, LaunchMove, LaunchStatus, Order
from loominal.model.names import AUTOSCALER
from loominal.model.target import Target

if TYPE_CHECKING:
    from loominal.fabric.addresses import Reach
    from loominal.fabric.hub.project import Project

MORE_SECONDS = 60.0  # that an enrolment is good beyond its launch's boot time: clocks differ
GONE_SECONDS = 10.0  # after which a start that nobody confirmed, and of which nothing is there, never happened
STOP_GRACE_SECONDS = 10.0

log = logging.getLogger(__name__)


async def begin(project: Project, target: Target, *, launch_id: str, work: str = "", by: str = "") -> Launch:
    """Record a launch and ask the mechanism in the background; the same launch again is only looked up.

    Raises: Conflict if another weft leads, BrokerUnavailable (it may be recorded; it is then looked up).
    """
    now = project.clock.now()
    launch = await launches.request(
        project,
        Launch(
            id=launch_id,
            target=target.id,
            target_name=target.name,
            mechanism=target.mechanism,
            agent_type=target.agent_type,
            agent=agent_of(launch_id),
            work=work,
            by=by,
            requested_at=now,
            boot_timeout_seconds=target.boot_timeout_seconds,
        ),
    )
    project.spinup.run(launch.id, _start(project, target, launch))
    return launch


def agent_of(launch_id: str) -> str:
    """Return the id of the agent that a launch is for."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"agent of {launch_id}".encode()).digest()[:16], version=4))


def invitation_of(launch_id: str) -> str:
    """Return the id of the invitation with which a launch's agent enrols."""
    return hashlib.sha256(f"invitation of {launch_id}".encode()).hexdigest()[:16]


async def reconcile(project: Project, launch: Launch) -> None:
    """Find out what became of a launch that nobody is at work on, and record it."""
    target = project.targets.get(launch.target)
    if project.launcher is None or target is None:
        if launch.status in (LaunchStatus.REQUESTED, LaunchStatus.UNCONFIRMED):
            await _move(project, launch, LaunchMove.FAIL, detail="its target is gone")
        return
    try:
        seen = await project.launcher.look(target, launch)
    except Unreachable as error:
        log.info("project %s: launch %s cannot be looked up: %s", project.id, launch.id, error)
        return
    waited = (project.clock.now() - launch.requested_at).total_seconds()
    match seen.condition:
        case Condition.RUNNING if launch.status in (LaunchStatus.REQUESTED, LaunchStatus.UNCONFIRMED):
            await _move(project, launch, LaunchMove.START, reference=seen.reference, detail=seen.detail)
        case Condition.ENDED if launch.status is not LaunchStatus.REGISTERED:
            detail = seen.detail or f"it ended with exit code {seen.exit_code} before its agent came"
            await _move(project, launch, LaunchMove.FAIL, reference=seen.reference, detail=detail, output=seen.output)
            await disown(project, launch)
        case Condition.ENDED:
            output = seen.output if seen.exit_code else ""
            await _move(project, launch, LaunchMove.STOP, detail=seen.detail, output=output)
        case Condition.GONE if waited > GONE_SECONDS and launch.status is not LaunchStatus.REGISTERED:
            await _move(project, launch, LaunchMove.STOP, detail="it was never started, or nothing of it is left")
            await disown(project, launch)
        case Condition.GONE if launch.status is LaunchStatus.REGISTERED:
            await _move(project, launch, LaunchMove.STOP, detail=seen.detail)


async def give_up(project: Project, launch: Launch, move: LaunchMove, detail: str) -> None:
    """Close a launch and end whatever it has started; its enrolment is worth nothing from then on."""
    await _move(project, launch, move, detail=detail)
    await disown(project, launch)
    await end(project, launch)


async def end(project: Project, launch: Launch) -> None:
    """End whatever a launch has started. Should its mechanism not be reachable, it is asked again later."""
    target = project.targets.get(launch.target)
    if project.launcher is None or target is None:
        return
    try:
        await project.launcher.stop(target, launch, grace_seconds=STOP_GRACE_SECONDS)
    except LoominalError as error:
        log.warning("project %s: what launch %s has started is not ended: %s", project.id, launch.id, error)


async def disown(project: Project, launch: Launch) -> None:
    """Make the enrolment of a launch worthless, whether its agent has come or not."""
    try:
        await project.authority.end_enrolment(invitation_of(launch.id))
    except LoominalError as error:
        log.warning("project %s: the enrolment of launch %s is not ended: %s", project.id, launch.id, error)


async def _start(project: Project, target: Target, launch: Launch) -> None:
    assert project.launcher is not None
    try:
        reach = project.launcher.reach(target)
        order = Order(
            launch=launch.id,
            target=target.name,
            project=project.id,
            agent_type=target.agent_type,
            capabilities=target.capabilities,
            work=launch.work,
            enrolment=await _enrolment(project, target, launch, reach),
        )
        reference = await project.launcher.start(target, order)
    except StartFailed as error:
        log.info("project %s: launch %s on %s failed: %s", project.id, launch.id, target.name, error.message)
        detail = error.message + (f" ({error.hint})" if error.hint else "")
        await _move(project, launch, LaunchMove.FAIL, detail=detail, output=error.output)
        await disown(project, launch)
    except Forbidden as error:
        await _move(project, launch, LaunchMove.FAIL, detail=error.message)
        await disown(project, launch)
    except LoominalError as error:  # Unconfirmed, or the broker was away: nobody knows
        log.info("project %s: launch %s on %s is unconfirmed: %s", project.id, launch.id, target.name, error.message)
        await _move(project, launch, LaunchMove.LOSE, detail=error.message)
    else:
        log.info("project %s: launch %s on %s is started (%s)", project.id, launch.id, target.name, reference)
        await _move(project, launch, LaunchMove.START, reference=reference)


async def _enrolment(project: Project, target: Target, launch: Launch, reach: Reach) -> str:
    """Return what lets the launch's one agent enrol, once, with the target's grant and no more."""
    key, now = KeyPair.generate(Kind.USER), project.clock.now()
    expires_at = now + timedelta(seconds=target.boot_timeout_seconds + MORE_SECONDS)
    jwt = await project.authority.invite(
        Invitation(
            id=invitation_of(launch.id),
            key=key.public,
            agent=launch.agent,
            launch=launch.id,
            projects=(project.id,),
            agent_types=(target.agent_type,),
            boundaries=target.boundaries,
            capabilities=target.capabilities,
            by=AUTOSCALER,
            created_at=now,
            expires_at=expires_at,
        )
    )
    token = Token(
        urls=reach.urls,
        ca=reach.ca,
        jwt=jwt,
        seed=key.seed,
        expires_at=expires_at,
        agent=launch.agent,
        project=project.id,
    )
    return token.to_text()


async def _move(
    project: Project, launch: Launch, move: LaunchMove, *, reference: str = "", detail: str = "", output: str = ""
) -> None:
    """Record what happened; what has happened to it meanwhile stands."""
    try:
        await launches.make(project, launch.id, move, reference=reference, detail=detail, output=output)
    except (IllegalMove, NotFound):
        return
    except Conflict:  # another weft leads; it looks it up
        log.info("project %s: launch %s is another leader's now", project.id, launch.id)
    except LoominalError as error:
        log.warning("project %s: launch %s: %s is not recorded: %s", project.id, launch.id, move, error)
