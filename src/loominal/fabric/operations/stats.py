"""Which projects there are, and how much of everything there is in one."""

from __future__ import annotations

from msgspec.structs import asdict

from loominal.fabric.operations.types import Arguments, View
from loominal.model.agent import AgentStatus
from loominal.model.launch import LaunchStatus
from loominal.model.work import Status


class GetStats(Arguments, frozen=True, kw_only=True):
    """Ask for the counts of the project."""


class TargetCounts(View, frozen=True, kw_only=True):
    """How many targets there are, of these enabled, and of these not known to be unhealthy."""

    total: int = 0
    enabled: int = 0
    healthy: int = 0


class ListProjects(Arguments, frozen=True, kw_only=True):
    """Ask which projects there are."""


class ProjectView(View, frozen=True, kw_only=True):
    """A project in a list."""

    project_id: str
    project: str  # its name or its directory
    leader: str | None = None  # the weft that leads it, as far as the one that is asked has it loaded; only over REST


class Projects(View, frozen=True, kw_only=True):
    """Every project where the asker may be anything at all."""

    projects: tuple[ProjectView, ...]
    total: int


class Stats(View, frozen=True, kw_only=True):
    """The counts of one project."""

    agents: dict[AgentStatus, int]  # registered ones
    work: dict[Status, int]  # a scheduled item that is due counts as ready
    oldest_ready_seconds: float | None = None  # how long the oldest ready item waits; None: nothing is ready
    dead: int = 0  # dead letters
    targets: TargetCounts = TargetCounts()
    spin_ups: dict[LaunchStatus, int] = {}  # those of the last days
    unmet_routes: int = 0  # kinds of work that wait for agents which cannot be started


class ProjectStats(View, frozen=True, kw_only=True):
    """The counts of one project; nothing is counted where `loaded` is false."""

    project_id: str
    project: str
    loaded: bool  # false: nobody uses it, so nothing is online or claimed there; or `problem` says why not
    agents: dict[AgentStatus, int] | None = None
    work: dict[Status, int] | None = None
    oldest_ready_seconds: float | None = None
    dead: int | None = None
    targets: TargetCounts | None = None
    spin_ups: dict[LaunchStatus, int] | None = None
    unmet_routes: int | None = None
    problem: str | None = None


class FabricStats(View, frozen=True, kw_only=True):
    """The counts of a page of projects."""

    projects: tuple[ProjectStats, ...]
    total: int
    next_cursor: str | None = None


def project_stats(project_id: str, project: str, stats: Stats) -> ProjectStats:
    """Return the counts of a project that is loaded."""
    return ProjectStats(project_id=project_id, project=project, loaded=True, **asdict(stats))
