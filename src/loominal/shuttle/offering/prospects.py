"""Who can take what is offered, in words for the person who offers it: `shuttle submit` says it on stderr."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loominal.fabric.operations.registry import AgentView, Scope
from loominal.fabric.operations.work import BroadcastWorkOffer, Offered, OfferPreview, TargetVerdict
from loominal.model.agent import AgentStatus
from loominal.model.names import label
from loominal.model.work import WAITING, Status
from loominal.shuttle.tables import age

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

PERSON = "person"
MOST_LOOKED_AT = 100  # agents that can do it
MOST_NAMED = 3  # of each kind


def outlook(offered: Offered | OfferPreview) -> str:
    """Return who can take an item, or why nobody can."""
    if offered.status not in WAITING:
        return f"it is {offered.status} already"
    starts = isinstance(offered, Offered) and offered.spin_up_triggered
    if not offered.eligible:
        return f"{offered.note or 'Nobody can take it now.'}{' An agent is being started for it.' if starts else ''}"
    can = f"{agents(offered.eligible)} can take it{'' if offered.status is Status.READY else ' once it is ready'}"
    return f"{can}; one more is being started" if starts else can


def agents(count: int) -> str:
    """Return a number of agents in words."""
    return "1 agent" if count == 1 else f"{count} agents"


async def whereabouts(agent: Agent, offer: BroadcastWorkOffer) -> list[str]:
    """Return where agents are that can do what is offered, though none can take it: a sentence for each kind.

    Of those that are here and online the note says why they cannot.
    """
    if offer.assign_to:
        return []
    needed = {label(each, "capability") for each in (*offer.capabilities, offer.required_capability or "") if each}
    found = await agent.discover_agents(
        capability=min(needed, default=None),
        agent_type=offer.required_agent_type,
        scope=Scope.FABRIC,
        include_offline=True,
        limit=MOST_LOOKED_AT,
    )
    able = [each for each in found.agents if needed <= {*each.capabilities} and each.agent_type != PERSON]
    here = [each for each in able if each.project_id == agent.project.id]
    boundary, now = label(offer.boundary, "boundary"), datetime.now(UTC)
    told: dict[str, list[str]] = {}
    for each in here:
        if each.status is AgentStatus.OFFLINE:
            told.setdefault("offline", []).append(f"{each.handle} ({_seen(each, now)})")
        elif boundary not in each.boundaries:
            told.setdefault(f"not for {boundary!r}", []).append(f"{each.handle} (for {', '.join(each.boundaries)})")
    for each in able:
        if each not in here and each.status is not AgentStatus.OFFLINE:
            told.setdefault(f"in the project {each.project_id}", []).append(each.handle)
    if not able:
        one = f" --capability {shlex.quote(min(needed))}" if needed else ""
        return [f"none is known who could; `shuttle agents list --all-projects{one}` looks everywhere"]
    return [f"able, but {where}: {_some(who)}" for where, who in told.items()]


def of_targets(targets: Sequence[TargetVerdict]) -> list[str]:
    """Return where an agent can be started, else why on no target: a sentence, if there are targets."""
    if ready := [each.name for each in targets if each.eligible]:
        return [f"an agent can be started for it on {_some(ready)}"]
    if not targets:
        return []
    return [f"no target starts one: {_some([f'{each.name} is {each.reason}' for each in targets], '; ')}"]


def of_many(offered: Sequence[Offered]) -> Iterator[str]:
    """Yield what is to be said of many items at once."""
    before = sum(each.duplicate for each in offered)
    yield f"{_items(len(offered))} offered" + (f", {before} of them before" if before else "")
    if blocked := sum(each.status is Status.BLOCKED for each in offered):
        yield f"{_items(blocked)} waiting for others"
    left = [each for each in offered if each.status is Status.READY and not each.eligible]
    if not left:
        return
    started = sum(bool(each.spin_up_triggered) for each in left)
    yield f"{_items(len(left))} ready and nobody can take them now" + "; agents are being started" * bool(started)
    for note, count in Counter(each.note for each in left if each.note).most_common(MOST_NAMED):
        yield f"  {count}: {note}"
    yield f"`shuttle work why {left[0].id}` tells more of one"


def _items(count: int) -> str:
    return "1 item is" if count == 1 else f"{count} items are"


def _seen(agent: AgentView, now: datetime) -> str:
    return f"seen {age(agent.last_seen, now)}" if agent.last_seen else "never seen"


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return between.join([*names[:MOST_NAMED], *more])
