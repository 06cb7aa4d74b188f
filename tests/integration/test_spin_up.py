"""Agents appear when work needs them and go when it does not: real processes, started by a target of this machine."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from loominal.broker import subjects
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.model.errors import Duplicate, Forbidden, IllegalMove, InvalidArgument, NotFound
from loominal.model.launch import LIVE, Launch
from loominal.model.record import decode
from tests.checker import read_work
from tests.integration.conftest import eventually
from tests.integration.event_reader import reading, token_command
from tests.integration.fabric import Fabric
from tests.integration.weft_at_steps import processes
from tests.integration.workshop import Workshop
from tests.patience import SOON

WORKER = Path(__file__).with_name("spun_up.py")
LATER = 3 * SOON  # for several agents to start, one after the other, work and end


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


def a_target(name: str, *capabilities: str, command: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """Return what makes a target of this machine whose agents do work of `capabilities`. Any: whatever it takes."""
    return {
        "name": name,
        "agent_type": "exec",
        "capabilities": list(capabilities),
        "boundaries": ["personal"],
        "mechanism": "local",
        "config": {"command": command or (sys.executable, str(WORKER), *capabilities)},
        "max_concurrent": 2,
        "cooldown_seconds": 0,
        "idle_seconds": 0.5,
        "boot_timeout_seconds": 60,
        **fields,
    }


@pytest.fixture
async def boss(workshop: Workshop) -> AsyncIterator[Agent]:
    """An operator; whatever its targets have started has ended when the test is over."""
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    yield boss
    for target in (await boss.list_targets()).targets:
        await boss.disable_target(target.id)
    for each in (await boss.list_spin_ups(limit=100)).spin_ups:
        if each.status in LIVE and each.agent and each.registered_at is not None:
            with suppress(NotFound):  # it ends by itself in this moment
                await boss.shutdown_agent(each.agent, graceful=False)
    await eventually(lambda: nobody_left(boss), LATER)


async def nobody_left(boss: Agent) -> bool:
    """Return whether no launch is live."""
    return not any(each.status in LIVE for each in (await boss.list_spin_ups(limit=100)).spin_ups)


async def all_done(boss: Agent, items: list[str]) -> bool:
    """Return whether every item is done."""
    return all([(await boss.get_work(item)).status == "done" for item in items])


async def may_read(fabric: Fabric, token: str) -> bool:
    """Return whether weft knows a bearer token."""
    async with reading(fabric.home, token=token) as reader:
        return reader.status == 200


async def most_live(workshop: Workshop) -> Counter[str]:
    """Return how many launches of each target there were at once, at most, as the log of all their moves has it."""
    live: dict[str, str] = {}  # launch -> its target
    most: Counter[str] = Counter()
    for record in await read_work(
        Log(await workshop.broker(), subjects.work_stream(workshop.project)), workshop.project, ["launch"]
    ):
        launch = decode(Launch, record.data).value
        if launch.status in LIVE:
            live[launch.id] = launch.target_name
        else:
            del live[launch.id]
        most |= Counter(live.values())
    return most


async def test_work_without_agents_brings_them_up_and_they_go_when_it_is_done(workshop: Workshop, boss: Agent) -> None:
    await boss.add_target(**a_target("snakes", "py"))
    await boss.add_target(**a_target("gophers", "go", boundaries=["open-source"]))

    snakes = [(await boss.broadcast_work_offer(f"s{n}", capabilities=["py"])).id for n in range(6)]
    gophers = [
        (await boss.broadcast_work_offer(f"g{n}", capabilities=["go"], boundary="open-source")).id for n in range(6)
    ]
    await eventually(lambda: all_done(boss, snakes + gophers), LATER)
    await eventually(lambda: nobody_left(boss), LATER)

    most = await most_live(workshop)
    assert set(most) == {"snakes", "gophers"}
    assert max(most.values()) <= 2
    launches = (await boss.list_spin_ups(limit=100)).spin_ups
    assert not [each for launch in launches for each in processes(launch.id)]
    assert {each.status for each in launches} == {"stopped"}
    assert all(each.registered_at and each.handle for each in launches)
    checked = await workshop.check()
    assert {states[-1].status for states in checked.items.values()} == {"done"}


async def test_readers_of_events_are_told_of_targets_and_launches_and_of_no_config(
    workshop: Workshop, fabric: Fabric, boss: Agent, project_id: str
) -> None:
    made = ("create", f"eye-{project_id}", "--role", "observer", "--project", project_id, "--json")
    looker = json.loads(await asyncio.to_thread(token_command, fabric, *made))["token"]
    await eventually(lambda: may_read(fabric, looker))
    async with reading(fabric.home, token=looker, topics="targets,launches") as reader:
        await boss.add_target(**a_target("snakes", "py"))
        await boss.test_target("snakes")
        await boss.broadcast_work_offer("s", capabilities=["py"])
        kinds = ("target:registered", "target:health", *(f"launch:{each}" for each in ("requested", "stopped")))
        told = [await reader.until(kind, LATER) for kind in kinds]

    registered, looked, requested, stopped = (event.data["data"] for event in told)
    assert (registered["name"], registered["config"]) == ("snakes", {})
    assert looked["health"]["healthy"]
    assert requested["target"] == "snakes"
    assert (stopped["id"], stopped["status"]) == (requested["id"], "stopped")
    async with reading(fabric.home, told[0].id, looker, topics="targets,launches") as reader:
        again = [await reader.until(f"launch:{each}") for each in ("requested", "registered", "stopped")]
    assert [event.data["data"]["id"] for event in again] == [requested["id"]] * 3


async def test_fifty_items_at_once_start_no_more_than_the_target_may_have(workshop: Workshop, boss: Agent) -> None:
    await boss.add_target(**a_target("snakes", "py", max_concurrent=3))

    items = await asyncio.gather(*(boss.broadcast_work_offer(f"s{n}", capabilities=["py"]) for n in range(50)))
    await eventually(lambda: all_done(boss, [each.id for each in items]), LATER)
    await eventually(lambda: nobody_left(boss), LATER)

    assert 0 < (await most_live(workshop))["snakes"] <= 3
    launches = (await boss.list_spin_ups(limit=100)).spin_ups
    assert {each.status for each in launches} == {"stopped"}
    assert not [each for launch in launches for each in processes(launch.id)]


async def test_an_idle_agent_that_can_do_it_means_no_start(workshop: Workshop, boss: Agent) -> None:
    await boss.add_target(**a_target("snakes", "py"))
    worker = await workshop.agent("worker", capabilities=["py"])
    waiting = asyncio.create_task(worker.claim_work(wait_seconds=SOON))
    await asyncio.sleep(0.3)  # for the poll to be parked; were it not, an agent would be started

    item = (await boss.broadcast_work_offer("s", capabilities=["py"])).id
    [got] = (await waiting).work
    await worker.complete_work(got.id, "done")

    assert got.id == item
    assert (await boss.list_spin_ups()).total == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("no-such-program-here",), "no-such-program-here"),
        ((sys.executable, "-c", "import sys; print('cannot'); sys.exit(7)"), "7"),
    ],
)
async def test_a_start_that_fails_says_why_and_is_tried_again_later(
    boss: Agent, command: tuple[str, ...], said: str
) -> None:
    await boss.add_target(**a_target("broken", "py", command=command))
    await boss.broadcast_work_offer("s", capabilities=["py"])

    async def failed() -> bool:
        found = (await boss.list_spin_ups(status="failed")).spin_ups
        return bool(found)

    await eventually(failed, LATER)
    first = (await boss.list_spin_ups(status="failed")).spin_ups[-1]

    async def backs_off() -> bool:
        return any("failing" in why for why in (await boss.list_spin_ups()).unmet)

    await eventually(backs_off, LATER)
    assert said in (await boss.get_spin_up(first.id)).detail + (await boss.get_spin_up(first.id)).output
    assert (await boss.get_target("broken")).failures >= 1


async def test_a_start_of_which_no_agent_comes_times_out_and_is_ended(boss: Agent) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    await boss.add_target(**a_target("asleep", "py", command=command, boot_timeout_seconds=15, max_concurrent=1))

    launch = await boss.spin_up("asleep")

    async def timed_out() -> bool:
        return (await boss.get_spin_up(launch.id)).status == "timed_out"

    await eventually(timed_out, LATER)
    pid = int((await boss.get_spin_up(launch.id)).reference.partition(":")[0])
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), LATER)


async def test_targets_are_made_found_changed_and_removed(boss: Agent) -> None:
    made = await boss.add_target(**a_target("one", "py"))
    await boss.add_target(**a_target("two", "go"))

    with pytest.raises(Duplicate):
        await boss.add_target(**a_target("one", "ts"))
    with pytest.raises(Duplicate):
        await boss.update_target("two", name="one")
    with pytest.raises(InvalidArgument, match="cooldownSeconds"):
        await boss.update_target("two", cooldown_seconds=-1)
    with pytest.raises(InvalidArgument, match="command"):
        await boss.update_target("two", config={"command": []})
    renamed = await boss.update_target(made.id, name="uno", max_concurrent=5)
    disabled = await boss.disable_target("uno")
    with pytest.raises(IllegalMove):
        await boss.spin_up("uno")
    enabled = await boss.enable_target("uno")

    with pytest.raises(IllegalMove, match=f"at version {enabled.version}"):
        await boss.update_target("uno", max_concurrent=6, version=renamed.version)
    assert (await boss.update_target("uno", max_concurrent=6, version=enabled.version)).version > enabled.version
    resting = await boss.add_target(**a_target("rests", "py", enabled=False))
    assert (resting.enabled, (await boss.update_target("rests", enabled=True)).enabled) == (False, True)
    await boss.remove_target("rests")
    assert (renamed.id, renamed.name, renamed.max_concurrent, renamed.capabilities) == (made.id, "uno", 5, ("py",))
    assert (disabled.enabled, enabled.enabled) == (False, True)
    assert (await boss.add_target(**a_target("one", "ts"))).name == "one"
    await boss.remove_target("uno")
    with pytest.raises(NotFound):
        await boss.get_target(made.id)
    assert [each.name for each in (await boss.list_targets()).targets] == ["one", "two"]


async def test_a_local_target_that_names_no_machine_is_for_the_one_where_it_was_set(boss: Agent) -> None:
    here = socket.gethostname().partition(".")[0]

    made = await boss.add_target(**a_target("one", "py"))
    away = await boss.update_target("one", config={"command": ["x"], "host": "elsewhere.example"})
    renamed = await boss.update_target("one", name="uno")
    back = await boss.update_target("uno", config={"command": ["x"]})

    assert [each.config["host"] for each in (made, away, renamed, back)] == [here, *["elsewhere.example"] * 2, here]
    assert [each.unusable for each in (made, away, back)] == [None, "on the machine elsewhere.example, not here", None]


async def test_a_name_taken_by_many_at_once_is_one_targets(boss: Agent) -> None:
    made = await asyncio.gather(*(boss.add_target(**a_target("same", "py")) for _ in range(8)), return_exceptions=True)

    assert sum(not isinstance(each, BaseException) for each in made) == 1
    assert all(isinstance(each, Duplicate) for each in made if isinstance(each, BaseException))


async def test_a_test_of_a_target_tests_it(boss: Agent) -> None:
    await boss.add_target(**a_target("good", "py"))
    await boss.add_target(**a_target("bad", "py", command=("no-such-program-here",)))

    good, bad = await boss.test_target("good"), await boss.test_target("bad")

    assert good.healthy
    assert not bad.healthy
    assert "no-such-program-here" in bad.detail
    assert not (await boss.get_target("bad")).health.healthy  # type: ignore[union-attr]  # it was looked at


async def test_a_failed_test_keeps_nothing_from_being_tried_and_a_failed_check_of_its_own_does_and_says_why(
    boss: Agent,
) -> None:
    nowhere = {"command": ("true",), "cwd": "/nowhere"}
    checked = {"enabled": True, "intervalSeconds": 3600}
    await boss.add_target(**a_target("tested", "py", config=nowhere, cooldown_seconds=3600))
    await boss.add_target(**a_target("checked", "go", config=nowhere, health_check=checked))

    async def kept() -> list[str]:
        return [each.reason for each in (await boss.explain_work(item)).targets if each.rule == "unhealthy"]

    for name in ("tested", "checked"):
        assert not (await boss.test_target(name)).healthy
    await boss.broadcast_work_offer("s", capabilities=["py"])
    item = (await boss.broadcast_work_offer("g", capabilities=["go"])).id
    await eventually(lambda: tried(boss, "tested"), LATER)
    assert await kept() == ["unhealthy (the working directory '/nowhere' cannot be entered (config.cwd names another))"]
    assert not await tried(boss, "checked")

    mended = await boss.update_target("checked", config={"command": (sys.executable, str(WORKER), "go")})
    assert mended.health is None
    await eventually(lambda: all_done(boss, [item]), LATER)


async def tried(boss: Agent, target: str) -> bool:
    """Return whether there was a launch on `target`."""
    return bool((await boss.list_spin_ups(target=target)).spin_ups)


async def test_a_test_that_hangs_is_over_when_the_target_says(boss: Agent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = {"host": "127.0.0.1", "user": "nobody", "port": silent.getsockname()[1], "command": ["agent"]}
        check = {"timeoutSeconds": 1}
        await boss.add_target(**a_target("far", "py", mechanism="ssh", config=config, health_check=check))

        found = await boss.test_target("far")

    assert (found.healthy, found.detail) == (False, "no answer came within 1 s")


async def test_agents_that_come_and_go_without_taking_anything_count_as_starts_that_failed(boss: Agent) -> None:
    leaves = "import asyncio, loominal\nasync def main():\n    async with loominal.connect(agent_type='exec'): pass\n"
    command = (sys.executable, "-c", f"{leaves}asyncio.run(main())")
    await boss.add_target(**a_target("visitors", "py", command=command))
    await boss.broadcast_work_offer("s", capabilities=["py"])

    async def failing() -> bool:
        page = await boss.list_spin_ups()
        went = any("took nothing" in each.detail for each in page.spin_ups if each.status == "stopped")
        return went and any("failing" in why for why in page.unmet) and (await boss.get_target("visitors")).failures > 0

    await eventually(failing, LATER)


async def test_only_operators_set_targets_and_see_how_they_start_agents(workshop: Workshop, boss: Agent) -> None:
    worker = await workshop.agent("worker")
    await boss.add_target(**a_target("one", "py"))
    await boss.add_target(**a_target("tells", "py", command=("sh", "-c", "echo its key; exit 3")))
    launch = await boss.spin_up("tells")
    await eventually(lambda: nobody_left(boss), LATER)

    assert (await boss.get_spin_up(launch.id)).output == "its key\n"
    assert (await worker.get_spin_up(launch.id)).output == ""
    with pytest.raises(Forbidden):
        await worker.add_target(**a_target("mine", "py"))
    with pytest.raises(Forbidden):
        await worker.spin_up("one")
    assert (await worker.get_target("one")).config == {}


async def test_explain_says_of_each_target_what_keeps_it_from_an_item(boss: Agent) -> None:
    await boss.add_target(**a_target("gophers", "go"))
    await boss.add_target(**a_target("off", "py"))
    await boss.disable_target("off")
    item = (await boss.broadcast_work_offer("s", capabilities=["py"])).id

    told = {each.name: each for each in (await boss.explain_work(item)).targets}

    assert (told["gophers"].eligible, told["gophers"].rule) == (False, "capability")
    assert told["off"].rule == "disabled"
    assert "'py'" in told["gophers"].reason
