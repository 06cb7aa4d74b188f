"""`loominal demo`: run the story in a place of its own, end everything, check what was seen, exit 0 or 1."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import click

from loominal.model.errors import LoominalError

if TYPE_CHECKING:
    from loominal.local.demo.story import Story

INTERRUPTED = 130
SABOTAGE = ("lie", "spare")


@click.command(
    help="Watch work bring up three agents on a fabric of their own, and check what came of it.\n\n"
    "Nothing is left behind. Example: loominal demo"
)
@click.option("--plain", is_flag=True, help="Print lines instead of a live view.")
@click.option(
    "--sabotage", type=click.Choice(SABOTAGE), multiple=True, hidden=True, help="Spoil it; checks must notice."
)
def demo(*, plain: bool, sabotage: tuple[str, ...]) -> int:
    """Run the demo and return its exit code."""
    code = asyncio.run(_run(plain=plain, sabotage=sabotage))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt
    return code


async def _run(*, plain: bool, sabotage: tuple[str, ...]) -> int:
    stop = _stop_on_signals()  # before anything that takes its time

    # rich, NATS and all: loaded here, so that `loominal --help` stays quick
    from loominal.local.demo.check import checks
    from loominal.local.demo.place import Place
    from loominal.local.demo.seen import Seen
    from loominal.local.demo.show import PACE, Lines, Output, Screen, verdict
    from loominal.local.demo.story import Sabotage, Story

    console, seen, began = Output(stop.set), Seen(), time.monotonic()
    console.print(PACE, soft_wrap=True)
    place = Place()
    try:
        with Screen(console) if console.is_terminal and not plain else Lines(console) as view:
            failure = await _told(Story(place, view, seen, frozenset(map(Sabotage, sabotage))), stop)
        if failure and not stop.is_set():
            failure += f"\nthe coordinator's last word: {place.coordinator_words()}"
    finally:
        seen.left = await place.close()
    if failure:
        for line in (failure, *(f"left behind: {what}" for what in seen.left)):
            console.print(line, markup=False, soft_wrap=True)
        return INTERRUPTED if stop.is_set() else 1
    return 0 if verdict(console, checks(seen), time.monotonic() - began) else 1


def _stop_on_signals() -> asyncio.Event:
    """Return what is set by Ctrl-C and its like. They end the story; ending its processes is not interrupted."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _told(story: Story, stop: asyncio.Event) -> str:
    """Let the story happen until it ends or `stop` is set; return why it did not come to its end, "" if it did."""
    telling, stopping = asyncio.create_task(story.tell(), name="story"), asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([telling, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, stopping):
        task.cancel()
    await asyncio.wait([telling, stopping])
    if telling.cancelled() or stop.is_set():
        return "interrupted"
    try:
        telling.result()
    except LoominalError as error:
        return f"the demo got stuck: {error.message}" + (f" ({error.hint})" if error.hint else "")
    return ""
