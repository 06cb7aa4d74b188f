"""The starting of agents: asking for one, looking at those that there were."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.operations.types import Arguments, Limit100, View
from loominal.model.launch import LaunchStatus


class SpinUp(Arguments, frozen=True, kw_only=True):
    """Start one agent on a target now, whether work waits for it or not."""

    target: str  # id or name


class ListSpinUps(Arguments, frozen=True, kw_only=True):
    """Look through the launches."""

    target: str | None = None  # id or name
    status: LaunchStatus | None = None
    limit: Limit100 = 20
    cursor: str | None = None


class GetSpinUp(Arguments, frozen=True, kw_only=True):
    """Look at one launch."""

    id: str


class SpinUpView(View, frozen=True, kw_only=True):
    """The starting of one agent, from the decision to its end."""

    id: str
    target: str  # name, as it was then
    target_id: str
    mechanism: str
    agent_type: str
    status: LaunchStatus
    agent: str = ""  # guid of the agent it is for
    handle: str = ""  # of that agent, once it has come
    work_id: str = ""  # the item that called for it
    by: str = ""  # who asked for it; "": the autoscaler
    reference: str = ""  # what the mechanism calls it
    detail: str = ""
    output: str = ""  # the end of what a failed start printed; in `get_spin_up` only, to operators
    draining: bool = False
    requested_at: datetime
    started_at: datetime | None = None
    registered_at: datetime | None = None
    ended_at: datetime | None = None


class SpinUpList(View, frozen=True, kw_only=True):
    """A page of launches, the newest first, and why none is started for routes that wait."""

    spin_ups: tuple[SpinUpView, ...]
    total: int
    next_cursor: str | None = None
    unmet: tuple[str, ...] = ()  # one sentence for each route whose work waits for agents that cannot be started
