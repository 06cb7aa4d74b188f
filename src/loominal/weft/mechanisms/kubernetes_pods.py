"""What a Job and its pods tell about an agent, for people and for the launch's record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loominal.model.launch import Condition, Seen
from loominal.model.names import one_line

if TYPE_CHECKING:
    from lightkube.models.core_v1 import ContainerStatus
    from lightkube.resources.batch_v1 import Job
    from lightkube.resources.core_v1 import Event, Pod

ENDS = frozenset({"Complete", "Failed"})
REASON_CHARACTERS = 500


def seen(job: Job, pods: Sequence[Pod], events: Sequence[Event], reference: str) -> Seen:
    """Return where the agent of `job` stands; `events` are those of the Job itself."""
    ended = [
        each for each in (job.status and job.status.conditions) or () if each.type in ENDS and each.status == "True"
    ]
    over = [status for pod in pods for status in _statuses(pod) if status.state and status.state.terminated]
    details = [detail for pod in pods for detail in _waits(pod)]
    if not pods and not ended:
        details = [f"{each.reason}: {each.message}" for each in events if each.type == "Warning"][-1:]
    if job.metadata and job.metadata.deletionTimestamp and not ended:
        details = ["it is being ended", *details]
    details += [f"{each.reason or each.type}: {each.message or ''}" for each in ended if each.type == "Failed"]
    state = over[0].state.terminated if over and over[0].state else None
    if state is not None:
        details += [f"{state.reason or 'ended'}, exit code {state.exitCode}"]
    return Seen(
        condition=Condition.ENDED if ended else Condition.RUNNING,
        reference=reference,
        exit_code=state.exitCode if ended and state else None,
        detail=one_line("; ".join(details), REASON_CHARACTERS),
        output=(state.message or "") if state else "",
    )


def _waits(pod: Pod) -> Iterator[str]:
    """Yield what keeps a pod from running."""
    for condition in (pod.status and pod.status.conditions) or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"{condition.reason or 'not scheduled'}: {condition.message or ''}"
    for status in _statuses(pod):
        if status.state and status.state.waiting:
            waiting = status.state.waiting
            yield f"{waiting.reason or 'waiting'}: {waiting.message or ''}"
    if pod.status and pod.status.reason:  # evicted, or its node is lost
        yield f"{pod.status.reason}: {pod.status.message or ''}"


def _statuses(pod: Pod) -> Sequence[ContainerStatus]:
    return (pod.status and pod.status.containerStatuses) or []
