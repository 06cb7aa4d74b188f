"""Who is at work on a launch: one at a time, and from before it is recorded."""

from __future__ import annotations

import asyncio

from loominal.fabric.hub.spinup.tasks import SpinUps


async def test_nobody_begins_with_a_launch_that_is_held_or_at_work_on() -> None:
    spinup, done, go_on = SpinUps(), [], asyncio.Event()

    async def work(name: str) -> None:
        done.append(name)
        await go_on.wait()

    async with asyncio.TaskGroup() as group:
        spinup.group = group
        with spinup.holding("l_1"):
            spinup.run("l_1", work("a round"))
            spinup.run("l_2", work("another launch"))
            await asyncio.sleep(0)
            assert spinup.busy("l_1")
        spinup.run("l_1", work("its start"))
        spinup.run("l_1", work("a round"))
        await asyncio.sleep(0)
        assert spinup.busy("l_1")
        go_on.set()

    assert done == ["another launch", "its start"]
    assert not spinup.busy("l_1")
