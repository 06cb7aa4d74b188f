"""Starting one agent, and finding out what became of it: recorded first, then the mechanism is asked, in a task.

A lost answer is looked up, never asked again blindly; whatever a former leader left half done is looked up, too.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.hub.access.fabric_records import Invitation
from loominal.fabric.hub.lead.due import keep_loaded
from loominal.fabric.hub.spinup import launches
from loominal.fabric.hub.spinup.launcher import WHERE_ALLOWED
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
END_SECONDS = 60.0  # for which a launch stays open because what it has started cannot be ended
GONE_SECONDS = 10.0  # after which a start that nobody confirmed, and of which nothing is there, never happened
STOP_GRACE_SECONDS = 10.0

log = logging.getLogger(__name__)


async def begin(project: Project, target: Target, *, launch_id: str, work: str = "", by: str = "") -> Launch:
    """Record a launch, and ask the mechanism in the background.

    Only this call ever asks it to start that launch: whoever comes after looks it up. Raises: Conflict if it was
    requested before or another weft leads, Forbidden, BrokerUnavailable (it may be recorded; it is then looked up).
    """
    assert project.launcher is not None
    if why := project.launcher.refusal(target):
        raise Forbidden(f"target {target.name} is {why}", WHERE_ALLOWED)
    with project.spinup.holding(launch_id):  # or a round would take it for one that nobody is at work on
        await keep_loaded(project)
        launch = await launches.request(
            project,
            Launch(
                id=launch_id,
                target=target.id,
                target_name=target.name,
                mechanism=target.mechanism,
                config=project.launcher.config(target),
                agent_type=target.agent_type,
                agent=agent_of(launch_id),
                work=work,
                by=by,
                requested_at=project.clock.now(),
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


def has_come(project: Project, launch: Launch) -> bool:
    """Return whether the agent of a launch has registered, though it may have ended since."""
    record = project.agents.get(launch.agent)
    return record is not None and record.agent_type != ""


async def reconcile(project: Project, launch: Launch, *, late: bool = False) -> None:
    """Find out what became of a launch that nobody is at work on and whose agent is not there, and record it.

    One that is `late` is given up, with whatever its mechanism can tell of it.
    """
    assert project.launcher is not None
    why = f"no agent has come within {launch.boot_timeout_seconds:.0f} s"
    try:
        seen = await project.launcher.look(launch)
    except Unreachable as error:
        log.info("project %s: launch %s cannot be looked up: %s", project.id, launch.id, error)
        if late:
            await close(project, launch, LaunchMove.TIME_OUT, f"{why}: {error.message}")
        return
    waited = (project.clock.now() - launch.requested_at).total_seconds()
    match seen.condition:
        case Condition.ENDED:
            detail = f"no agent has come: {seen.detail or f'it ended with exit code {seen.exit_code}'}"
            await close(project, launch, LaunchMove.FAIL, detail, reference=seen.reference, output=seen.output)
        case _ if late:
            detail = f"{why}: {seen.detail}" if seen.detail else why
            await close(project, launch, LaunchMove.TIME_OUT, detail, reference=seen.reference, output=seen.output)
        case Condition.RUNNING if launch.status is not LaunchStatus.STARTED:
            await _move(project, launch, LaunchMove.START, reference=seen.reference, detail=seen.detail)
        case Condition.GONE if waited > GONE_SECONDS:
            await close(project, launch, LaunchMove.STOP, "it was never started, or nothing of it is left")


async def close(
    project: Project,
    launch: Launch,
    move: LaunchMove,
    detail: str,
    *,
    reference: str = "",
    output: str = "",
    started: bool = True,
    fruitless: bool = False,
) -> None:
    """Record that a launch is to end by `move`, end all of it, and record that: see `finish`.

    Behind the leader's fence, first: a former leader that was frozen ends nothing any more.
    """
    if move is LaunchMove.FAIL and has_come(project, launch):
        return  # and has ended since: the next round records both
    try:
        known = await launches.mark_closing(
            project, launch.id, move, reference=reference, detail=detail, output=output, fruitless=fruitless
        )
    except (IllegalMove, NotFound):
        return  # its agent has come, or it is about to end already
    except LoominalError as error:
        log.info("project %s: launch %s is not ended yet: %s", project.id, launch.id, error)
        return
    await finish(project, known, started=started)


async def finish(project: Project, launch: Launch, *, started: bool = True) -> None:
    """Make the enrolment of a launch that is to end worthless, end what it has `started`, and only then record its end.

    If that cannot be done it is tried again, for END_SECONDS; `sweep` goes on after that.
    """
    assert launch.closing is not None
    assert launch.closing_at is not None
    try:
        await _undo(project, launch, started=started)
    except LoominalError as error:
        log.warning("project %s: what launch %s has started is not ended: %s", project.id, launch.id, error)
        waited = (project.clock.now() - launch.closing_at).total_seconds()
        if waited < END_SECONDS:
            return
        detail = f"{launch.detail}; what it has started could not be ended: {error.message}"
        await _move(project, launch, launch.closing, detail=detail, unended=True)
    else:
        await _move(project, launch, launch.closing)


async def sweep(project: Project, launch: Launch) -> None:
    """End what a launch that is over has left behind, if anything."""
    assert project.launcher is not None
    try:
        if launch.unended:
            await _undo(project, launch)
        else:
            await project.launcher.stop(launch, grace_seconds=STOP_GRACE_SECONDS)
    except LoominalError as error:
        log.warning("project %s: what launch %s has left is not ended: %s", project.id, launch.id, error)


async def _undo(project: Project, launch: Launch, *, started: bool = True) -> None:
    assert project.launcher is not None
    await project.authority.end_enrolment(invitation_of(launch.id))
    if started:
        await project.launcher.stop(launch, grace_seconds=STOP_GRACE_SECONDS)


async def _start(project: Project, target: Target, launch: Launch) -> None:
    assert project.launcher is not None
    try:
        order = Order(
            launch=launch.id,
            target=target.name,
            project=project.id,
            agent_type=target.agent_type,
            capabilities=target.capabilities,
            work=launch.work,
            enrolment=await _enrolment(project, target, launch, project.launcher.reach(target)),
        )
        # This weft may have been frozen. Whoever closed the launch meanwhile has ended its enrolment, unless it was
        # made only now: so it is looked at after that.
        if not await launches.is_open(project, launch.id):
            await project.authority.end_enrolment(invitation_of(launch.id))
            return
        reference = await project.launcher.start(target, order)
    except (StartFailed, Forbidden) as error:
        log.info("project %s: launch %s on %s failed: %s", project.id, launch.id, target.name, error.message)
        detail = error.message + (f" ({error.hint})" if error.hint else "")
        output = error.output if isinstance(error, StartFailed) else ""
        await close(project, launch, LaunchMove.FAIL, detail, output=output, started=False)
    except LoominalError as error:  # Unconfirmed, or the broker was away: nobody knows
        log.info("project %s: launch %s on %s is unconfirmed: %s", project.id, launch.id, target.name, error.message)
        await _move(project, launch, LaunchMove.LOSE, detail=error.message)
    else:
        log.info("project %s: launch %s on %s is started (%s)", project.id, launch.id, target.name, reference)
        await _move(project, launch, LaunchMove.START, reference=reference)
        await _take_back(project, launch, reference)


async def _take_back(project: Project, launch: Launch, reference: str) -> None:
    """End what was started for a launch that was closed meanwhile: this weft was frozen, or the start took long."""
    try:
        if not await launches.is_open(project, launch.id):
            log.info("project %s: launch %s was closed while it started", project.id, launch.id)
            await _undo(project, replace(launch, reference=reference))
    except LoominalError as error:  # the leader sweeps
        log.warning("project %s: what launch %s has started is not ended: %s", project.id, launch.id, error)


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
    project: Project, launch: Launch, move: LaunchMove, *, reference: str = "", detail: str = "", unended: bool = False
) -> None:
    """Record what happened; what has happened to it meanwhile stands."""
    try:
        await launches.make(project, launch.id, move, reference=reference, detail=detail, unended=unended)
    except (IllegalMove, NotFound):
        return
    except Conflict:  # another weft leads; it looks it up
        log.info("project %s: launch %s is another leader's now", project.id, launch.id)
    except LoominalError as error:
        log.warning("project %s: launch %s: %s is not recorded: %s", project.id, launch.id, move, error)
