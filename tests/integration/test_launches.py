"""Launches on a real hub in odd cases: who counts as free, what forks or hangs, what is changed or dies meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from loominal.fabric.client.agent import Agent
from loominal.model.errors import IllegalMove
from loominal.model.launch import LaunchStatus
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.test_spin_up import LATER, WORKER, a_target, all_done, boss, nobody_left
from tests.integration.weft_at_steps import processes
from tests.integration.workshop import Workshop, claim, open_workshop

__all__ = ["boss"]  # a fixture

AGENT = (sys.executable, str(WORKER), "py")
ASLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
RUNS_OUT_SECONDS = 15  # of a boot time that is to be over: its process begins meanwhile, on a loaded machine in ten


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def busy(worker: Agent, boss: Agent) -> None:
    await boss.broadcast_work_offer("other", capabilities=["go"])
    await claim(worker)


async def draining(worker: Agent, boss: Agent) -> None:
    await boss.shutdown_agent(worker.guid, grace_period_seconds=120)
    await eventually(lambda: worker.draining, LATER)


async def silent(worker: Agent, boss: Agent) -> None:
    """It is there, as a person's interactive client is, and never asks for work."""


@pytest.mark.parametrize("occupied", [busy, draining, silent])
async def test_an_agent_that_could_but_will_not_take_it_means_one_start(
    workshop: Workshop, boss: Agent, occupied: Callable[[Agent, Agent], Awaitable[None]]
) -> None:
    worker = await workshop.agent("worker", capabilities=["py", "go"], max_concurrent=1)
    await occupied(worker, boss)
    await boss.add_target(**a_target("snakes", "py"))

    item = (await boss.broadcast_work_offer("s", capabilities=["py"])).id
    await eventually(lambda: all_done(boss, [item]), LATER)
    await eventually(lambda: nobody_left(boss), LATER)

    [launch] = (await boss.list_spin_ups()).spin_ups
    assert (launch.status, launch.agent) == ("stopped", (await boss.get_work(item)).claimed_by or launch.agent)


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ('setsid "$@" >/dev/null 2>&1 & exit 0', "goes into the background"),
        ('sleep 600 & exec "$@"', "leaves something behind"),
        ('setsid sleep 600 & "$@" & sleep 600', "is one of several"),
    ],
)
async def test_an_agent_that_forks_works_and_nothing_of_it_is_left(boss: Agent, script: str, what: str) -> None:
    await boss.add_target(**a_target("forks", "py", command=("sh", "-c", script, "sh", *AGENT)))

    item = (await boss.broadcast_work_offer(what, capabilities=["py"])).id
    await eventually(lambda: all_done(boss, [item]), LATER)
    await eventually(lambda: nobody_left(boss), LATER)

    [launch] = (await boss.list_spin_ups()).spin_ups
    assert launch.status == "stopped"
    assert processes(launch.id) == []  # a launch is closed when nothing of it is left


async def test_each_start_that_comes_to_nothing_is_recorded_with_why_and_with_what_it_has_said(boss: Agent) -> None:
    expected = {
        "missing": (("no-such-program",), "failed", "there is no program 'no-such-program'", ""),
        "ends-at-once": (("sh", "-c", "echo cannot; exit 7"), "failed", "exit code 7", "cannot"),
        "gives-up": (
            ("sh", "-c", "echo tries; sleep 1; echo gives up >&2; exit 3"),
            "failed", "exit code 3", "tries\ngives up",
        ),
        "is-killed": (("sh", "-c", "echo dies; sleep 1; kill -9 $$"), "failed", "exit code 137 (SIGKILL)", "dies"),
        "hangs": (("sh", "-c", "echo waits; exec sleep 600"), "timed_out", "no agent has come within 15 s", "waits"),
        "forks": (
            ("sh", "-c", "echo forks; setsid sleep 600 & (sleep 600 &) ; exit 0"),
            "timed_out", "no agent has come within 15 s", "forks",
        ),
    }  # fmt: skip
    for name, (command, status, *_) in expected.items():
        boot_seconds = RUNS_OUT_SECONDS if status == "timed_out" else LATER
        await boss.add_target(**a_target(name, "py", command=command, boot_timeout_seconds=boot_seconds))
    for name in expected:
        await boss.spin_up(name)
    await eventually(lambda: nobody_left(boss), LATER)

    launches = {each.target: each.id for each in (await boss.list_spin_ups()).spin_ups}
    for name, (_, status, detail, output) in expected.items():
        launch = await boss.get_spin_up(launches[name])
        assert (launch.status, launch.output.strip()) == (status, output), launch
        assert detail in launch.detail
        assert processes(launch.id) == []
        assert (await boss.get_target(name)).failures == 1


async def test_starts_that_are_asked_for_at_once_are_no_more_than_the_target_may_have(boss: Agent) -> None:
    await boss.add_target(**a_target("asleep", "py", command=ASLEEP, boot_timeout_seconds=RUNS_OUT_SECONDS))

    asked = await asyncio.gather(*(boss.spin_up("asleep") for _ in range(8)), return_exceptions=True)

    assert sum(not isinstance(each, BaseException) for each in asked) == 2
    assert sum(isinstance(each, IllegalMove) for each in asked) == 6
    await eventually(lambda: nobody_left(boss), LATER)
    assert [processes(each.id) for each in (await boss.list_spin_ups()).spin_ups] == [[], []]


async def test_what_a_target_that_is_changed_and_removed_has_started_is_ended_all_the_same(boss: Agent) -> None:
    await boss.add_target(**a_target("changes", "py", command=ASLEEP, boot_timeout_seconds=RUNS_OUT_SECONDS))
    hangs = await boss.spin_up("changes")
    await boss.update_target("changes", config={"command": list(AGENT), "host": "another-machine"})
    await boss.update_target("changes", config={"command": list(AGENT)}, boot_timeout_seconds=60, idle_seconds=600)
    works = await boss.spin_up("changes")

    async def registered() -> bool:
        return (await boss.get_spin_up(works.id)).status == "registered"

    await eventually(registered, LATER)
    await boss.remove_target("changes")
    await eventually(lambda: nobody_left(boss), LATER)

    found = {each.id: each for each in (await boss.list_spin_ups()).spin_ups}
    assert {each.id: each.status for each in found.values()} == {
        hangs.id: LaunchStatus.TIMED_OUT,
        works.id: LaunchStatus.STOPPED,
    }, found
    assert processes(hangs.id) + processes(works.id) == []


async def test_a_leader_that_stood_still_ends_nobody_for_what_it_did_not_hear(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start()
    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
        await boss.add_target(**a_target("snakes", "py", idle_seconds=600))
        first = (await boss.broadcast_work_offer("first", capabilities=["py"])).id
        await eventually(lambda: all_done(boss, [first]), LATER)

        private_fabric.freeze(private_fabric.weft)
        await asyncio.sleep(7)  # an agent of which nothing is heard for 4.5 s is offline
        private_fabric.thaw(private_fabric.weft)
        second = (await boss.broadcast_work_offer("second", capabilities=["py"])).id
        await eventually(lambda: all_done(boss, [second]), LATER)

        [launch] = (await boss.list_spin_ups()).spin_ups
        assert launch.status == "registered"
        await boss.remove_target("snakes")
        await eventually(lambda: nobody_left(boss), LATER)


async def test_a_launch_is_seen_to_though_every_weft_died_and_nobody_is_connected(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start()
    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
        await boss.add_target(**a_target("asleep", "py", command=ASLEEP, boot_timeout_seconds=RUNS_OUT_SECONDS))
        launch = await boss.spin_up("asleep")
        await eventually(lambda: any(processes(launch.id)), LATER)
    private_fabric.kill_weft()
    private_fabric.start_weft()

    await eventually(lambda: not processes(launch.id), LATER)

    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
        await eventually(lambda: nobody_left(boss), LATER)
        assert (await boss.get_spin_up(launch.id)).status == "timed_out"
