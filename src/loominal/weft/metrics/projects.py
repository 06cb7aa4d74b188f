"""The metrics of the projects that this weft leads. A project that it does not lead any more has none here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from loominal.fabric.hub.project import Project
from loominal.fabric.hub.stats import agents_by_status, oldest_ready_seconds, target_counts
from loominal.model.launch import LaunchStatus
from loominal.model.message import Kind
from loominal.model.work import DeadReason, Status

ROUTES = 20  # of a project that are told apart, those that wait longest; the others are one
OTHERS = ("", "(others)")
LABEL_CHARACTERS = 60  # of what people wrote
KINDS = {Kind.CHANNEL: "channel", Kind.DIRECT: "direct"}


def project_families(projects: Iterable[Project]) -> Iterator[Metric]:
    """Yield every metric of these projects; items are not walked through, however many there are."""
    led = list(projects)
    yield from _work_now(led)
    yield from _work_done(led)
    yield from _spin_ups([project for project in led if len(project.targets) or project.launches.counts.total()])
    agents = GaugeMetricFamily("loominal_agents", "Registered agents by status.", labels=("project", "status"))
    messages = CounterMetricFamily("loominal_messages", "Messages stored.", labels=("project", "kind"))
    lost = CounterMetricFamily("loominal_agent_events_lost", "Events that could not be written.", labels=("project",))
    corrupt = GaugeMetricFamily(
        "loominal_corrupt_records", "Stored records that cannot be read and are passed over.", labels=("project",)
    )
    for project in led:
        for status, count in agents_by_status(project).items():
            agents.add_metric((project.id, status), count)
        for kind, name in KINDS.items():
            messages.add_metric((project.id, name), project.tally.messages[kind])
        lost.add_metric((project.id,), project.tally.events_lost)
        corrupt.add_metric((project.id,), len(project.corrupt))
    yield from (agents, messages, lost, corrupt)


def _work_now(led: list[Project]) -> Iterator[Metric]:
    items = GaugeMetricFamily(
        "loominal_work_items",
        "Work items by status; a scheduled one that is due counts as ready.",
        labels=("project", "status"),
    )
    oldest = GaugeMetricFamily(
        "loominal_work_oldest_ready_seconds",
        f"How long the oldest ready item of a route waits, for the {ROUTES} routes of a project that wait longest.",
        labels=("project", "boundary", "capabilities"),
    )
    for project in led:
        counts = project.book.counts()
        for status in Status:
            items.add_metric((project.id, status), counts[status])
        for route, seconds in _longest(project).items():
            oldest.add_metric((project.id, *route), seconds)
    yield from (items, oldest)


def _longest(project: Project) -> dict[tuple[str, str], float]:
    """Return how long the oldest item waits by boundary and capabilities, as far as labels tell routes apart."""
    found: dict[tuple[str, str], float] = {}
    for route, seconds in sorted(oldest_ready_seconds(project).items(), key=itemgetter(1), reverse=True):
        key = (_cut(route.boundary), _cut(", ".join(sorted(route.capabilities))))
        if key not in found and len(found) >= ROUTES:
            key = OTHERS
        found.setdefault(key, seconds)
    return found


def _work_done(led: list[Project]) -> Iterator[Metric]:
    moves = CounterMetricFamily("loominal_work_moves", "Moves of work items.", labels=("project", "move"))
    dead = CounterMetricFamily("loominal_work_dead", "Items that became dead letters.", labels=("project", "reason"))
    wait = HistogramMetricFamily("loominal_work_claim_wait_seconds", "From ready to claimed.", labels=("project",))
    runs = HistogramMetricFamily(
        "loominal_work_run_seconds", "From claimed to whatever ended the claim.", labels=("project", "end")
    )
    attempts = HistogramMetricFamily(
        "loominal_work_attempts", "Attempts of an item when it ended.", labels=("project",)
    )
    for project in led:
        tally = project.tally
        for move, count in tally.moves.items():
            moves.add_metric((project.id, move), count)
        for reason in DeadReason:
            dead.add_metric((project.id, reason), tally.dead[reason])
        if tally.claim_wait.count:
            wait.add_metric((project.id,), tally.claim_wait.buckets(), tally.claim_wait.sum)
        for end, run in tally.runs.items():
            runs.add_metric((project.id, end), run.buckets(), run.sum)
        if tally.attempts.count:
            attempts.add_metric((project.id,), tally.attempts.buckets(), tally.attempts.sum)
    yield from (moves, dead, wait, runs, attempts)


def _spin_ups(starting: list[Project]) -> Iterator[Metric]:
    """Yield the metrics of spin-up, of projects that have to do with it."""
    targets = GaugeMetricFamily(
        "loominal_targets", "Targets, by whether agents may be started there.", labels=("project", "state")
    )
    now = GaugeMetricFamily(
        "loominal_spin_ups", "Launches of the last days, by where they stand.", labels=("project", "status")
    )
    unmet = GaugeMetricFamily(
        "loominal_unmet_routes", "Kinds of work that wait for agents which cannot be started.", labels=("project",)
    )
    came = CounterMetricFamily(
        "loominal_launches",
        "Launches by what first came of them: an agent that registered, or their end without one.",
        labels=("project", "mechanism", "outcome"),
    )
    boots = HistogramMetricFamily(
        "loominal_launch_boot_seconds",
        "From the request of a launch to its agent's registration.",
        labels=("project", "mechanism"),
    )
    for project in starting:
        known, tally = target_counts(project), project.tally
        states = {
            "usable": known.healthy,
            "unhealthy": known.enabled - known.healthy,
            "disabled": known.total - known.enabled,
        }
        for state, count in states.items():
            targets.add_metric((project.id, state), count)
        for status in LaunchStatus:
            now.add_metric((project.id, status), project.launches.counts[status])
        unmet.add_metric((project.id,), len(project.spinup.unmet))
        for (mechanism, outcome), count in tally.launches.items():
            came.add_metric((project.id, mechanism, outcome), count)
        for mechanism, boot in tally.boots.items():
            boots.add_metric((project.id, mechanism), boot.buckets(), boot.sum)
    yield from (targets, now, unmet, came, boots)


def _cut(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS else f"{text[: LABEL_CHARACTERS - 1]}…"
