"""What /metrics tells after a day's work in small, and how: by Prometheus' own rules, with bounded labels."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.stats import TargetCounts
from loominal.model.launch import LaunchStatus
from loominal.model.work import Status
from loominal.weft.api.tokens import hash_of
from loominal.weft.metrics.projects import LABEL_CHARACTERS, ROUTES
from tests.integration.conftest import eventually
from tests.integration.event_reader import reading
from tests.integration.fabric import Fabric
from tests.integration.http_api import Api, open_api
from tests.integration.test_spin_up import a_target
from tests.integration.workshop import Workshop
from tests.patience import SOON

PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=str(Path(sys.executable).parent))
PROJECTS = """
    loominal_agent_events_lost loominal_agents loominal_corrupt_records loominal_messages loominal_work_attempts
    loominal_work_claim_wait_seconds loominal_work_dead loominal_work_items loominal_work_moves
    loominal_work_oldest_ready_seconds loominal_work_run_seconds
"""
SPIN_UPS = """
    loominal_launch_boot_seconds loominal_launches loominal_spin_ups loominal_targets loominal_unmet_routes
"""
WEFTS = """
    loominal_broker_connects loominal_broker_up loominal_build_info loominal_duty_failures loominal_event_readers
    loominal_event_readers_cut loominal_http_request_seconds loominal_http_requests loominal_lead_changes
    loominal_operation_seconds loominal_projects loominal_store_used_ratio loominal_wefts process_resident_memory_bytes
"""


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def scrape(api: Api) -> dict[str, Metric]:
    """Return the metrics by name; one without a sample is not among them."""
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found = list(text_string_to_metric_families(answer.text))
    assert len(found) == len({each.name for each in found})
    return {each.name: each for each in found if each.samples}


def value(metrics: dict[str, Metric], sample: str, **labels: str) -> float:
    """Return the sum of the samples of that name that have these labels."""
    return sum(
        each.value
        for metric in metrics.values()
        for each in metric.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


async def day_of_work(boss: Agent, worker: Agent) -> None:
    """Do, fail and leave work, and talk about it."""
    await boss.broadcast_work_offer("to do", capabilities=["python"])
    [item] = (await worker.claim_work(wait_seconds=SOON)).work
    await worker.complete_work(item.id, summary="done")
    await boss.broadcast_work_offer("too hard", capabilities=["python"], max_attempts=1)
    [item] = (await worker.claim_work(wait_seconds=SOON)).work
    await worker.fail_work(item.id, "it is too hard")
    await boss.broadcast_work_offer("for nobody", capabilities=["cobol", "rpg"])
    await boss.send_message("general", "hello")
    await boss.send_direct_message(worker.guid, "psst")


async def test_every_metric_has_a_sample_after_a_day_of_work_and_says_what_was_done(workshop: Workshop) -> None:
    boss, worker = await workshop.agent("boss"), await workshop.agent("worker")
    await day_of_work(boss, worker)
    here = {"project": workshop.project}
    async with open_api(workshop.fabric.home) as api, reading(workshop.fabric.home, projectId=workshop.project):
        await api.client.get("/api/nowhere")
        found = await scrape(api)

    assert set(f"{PROJECTS}{WEFTS}".split()) <= set(found)
    assert value(found, "loominal_work_items", status="ready", **here) == 1
    assert value(found, "loominal_work_items", **here) == 3
    assert value(found, "loominal_work_oldest_ready_seconds", boundary="personal", capabilities="cobol, rpg") > 0
    assert value(found, "loominal_work_moves_total", move="claim", **here) == 2
    assert value(found, "loominal_work_dead_total", reason="max_attempts", **here) == 1
    assert value(found, "loominal_work_claim_wait_seconds_count", **here) == 2
    assert value(found, "loominal_work_run_seconds_count", end="complete", **here) == 1
    assert value(found, "loominal_work_attempts_bucket", le="1.0", **here) == 2
    assert value(found, "loominal_agents", status="online", **here) == 2
    assert value(found, "loominal_messages_total", kind="channel", **here) == 1
    assert value(found, "loominal_operation_seconds_count", operation="fail_work", code="ok") >= 1
    assert value(found, "loominal_projects", role="leader") >= 1
    assert value(found, "loominal_lead_changes_total", change="taken") >= 1
    assert value(found, "loominal_broker_up") == 1
    assert value(found, "loominal_event_readers") >= 1
    assert value(found, "loominal_http_requests_total", route="(none)", status="404") >= 1


async def test_spin_up_in_numbers(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    await boss.add_target(**a_target("snakes", "py"))
    await boss.add_target(**a_target("broken", "rb", command=("no-such-program-here",), cooldown_seconds=3600))
    await boss.add_target(**a_target("off", "go"))
    await boss.disable_target("off")
    await boss.test_target("broken")
    await boss.broadcast_work_offer("s", capabilities=["py"])
    await boss.broadcast_work_offer("r", capabilities=["rb"])  # for which it is tried once

    async def is_over() -> bool:
        stats = await boss.get_stats()
        seen = stats.spin_ups[LaunchStatus.STOPPED], stats.spin_ups[LaunchStatus.FAILED], stats.unmet_routes
        return seen == (1, 1, 1) and stats.work[Status.DONE] == 1

    await eventually(is_over, SOON)
    stats, here = await boss.get_stats(), {"project": workshop.project}
    async with open_api(workshop.fabric.home) as api:
        found = await scrape(api)
        [told] = (await api.get("/api/stats", projectId=workshop.project))["projects"]

    assert stats.targets == TargetCounts(total=3, enabled=2, healthy=1)
    assert (told["targets"], told["unmetRoutes"]) == ({"total": 3, "enabled": 2, "healthy": 1}, 1)
    assert told["spinUps"] == {status: int(status in ("stopped", "failed")) for status in LaunchStatus}
    assert set(SPIN_UPS.split()) <= set(found)
    for state in ("usable", "unhealthy", "disabled"):
        assert value(found, "loominal_targets", state=state, **here) == 1
    assert value(found, "loominal_spin_ups", status="stopped", **here) == 1
    assert value(found, "loominal_spin_ups", **here) == 2
    assert value(found, "loominal_unmet_routes", **here) == 1
    assert value(found, "loominal_launches_total", mechanism="local", outcome="registered", **here) == 1
    assert value(found, "loominal_launches_total", mechanism="local", outcome="failed", **here) == 1
    assert value(found, "loominal_launches_total", **here) == 2
    assert value(found, "loominal_launch_boot_seconds_count", mechanism="local", **here) == 1


async def test_the_metrics_keep_prometheus_own_rules(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True)
    await day_of_work(boss, await workshop.agent("worker"))
    await boss.add_target(**a_target("broken", "rb", command=("no-such-program-here",)))
    await boss.spin_up("broken")
    async with open_api(workshop.fabric.home) as api:
        text = (await api.client.get("/metrics")).text

    if PROMTOOL:
        told = await asyncio.to_thread(
            subprocess.run, [PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
        )
        assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert breaches(text) == []


def breaches(text: str) -> list[str]:
    """Return what `promtool check metrics` would complain about, as far as it concerns names, help and types."""
    found = []
    for metric in text_string_to_metric_families(text):
        name = metric.name
        if not metric.documentation:
            found.append(f"{name}: no help text")
        if metric.type not in {"counter", "gauge", "histogram"}:
            found.append(f"{name}: type {metric.type}")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            found.append(f"{name}: not snake_case")
        if re.search(r"_(total|count|sum|bucket|counter|gauge|histogram|ms|minutes|milliseconds|kb|mb|percent)$", name):
            found.append(f"{name}: a type or a unit that is no base unit in its name")
        for sample in metric.samples:
            if metric.type == "counter" and not sample.name.endswith("_total"):
                found.append(f"{sample.name}: a counter without _total")
            found += [f"{name}: label {label}" for label in sample.labels if not re.fullmatch(r"[a-z_]+", label)]
    return found


def test_the_rules_catch_a_breach() -> None:
    wrong = "# TYPE loominal_wait_ms gauge\nloominal_wait_ms{} 1\n# HELP a b\n# TYPE a summary\na_count 1\na_sum 1\n"

    assert len(breaches(wrong)) == 3


async def test_what_people_write_makes_no_unbounded_labels(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", max_concurrent=1)
    for number in range(ROUTES + 5):
        await boss.broadcast_work_offer("x", capabilities=[f"{number:03}" + '€"\n\\'[:2] * 40])
    async with open_api(workshop.fabric.home) as api:
        found = await scrape(api)

    waits = found["loominal_work_oldest_ready_seconds"].samples
    oldest = [each for each in waits if each.labels["project"] == workshop.project]
    assert len(oldest) == ROUTES + 1
    assert [each.labels["boundary"] for each in oldest if each.labels["capabilities"] == "(others)"] == [""]
    assert max(len(text) for each in oldest for text in each.labels.values()) == LABEL_CHARACTERS


async def test_a_weft_counts_what_it_led_and_tells_each_reader_of_its_own_projects(private_fabric: Fabric) -> None:
    (private_fabric.home / "weft.toml").write_text(
        f'[[tokens]]\nname = "mine"\nsha256 = "{hash_of("of mine")}"\nrole = "observer"\nprojects = ["mine"]\n'
    )
    private_fabric.start()
    async with (
        private_fabric.connect("ann", project="mine", capabilities=["python"]) as ann,
        private_fabric.connect("bob", project="other", capabilities=["python"]),
    ):
        await day_of_work(ann, ann)
        async with open_api(private_fabric.home) as whole, open_api(private_fabric.home, "of mine") as part:
            everything, mine = await scrape(whole), await scrape(part)
        private_fabric.kill_weft()
        private_fabric.start_weft()
        async with open_api(private_fabric.home) as api:
            await ann.get_stats()
            after = await scrape(api)

    assert {each.labels["project"] for each in everything["loominal_agents"].samples} == {"mine", "other"}
    assert set(mine) == set(PROJECTS.split())
    assert {each.labels["project"] for metric in mine.values() for each in metric.samples} == {"mine"}
    assert value(everything, "loominal_work_moves_total", move="submit") == 3
    assert value(after, "loominal_work_moves_total", move="submit") == 0
    assert value(after, "loominal_work_items", project="mine") == 3
