"""How a demo looks: a live view on a terminal, plain lines elsewhere, and the verdict at the end."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loominal.fabric.operations.registry import AgentView
from loominal.fabric.operations.work import WorkView
from loominal.local.demo.check import Check
from loominal.local.demo.plan import TIMINGS_SCALE
from loominal.model.agent import AgentStatus
from loominal.model.work import Status

PACE = f"Leases and pauses take {TIMINGS_SCALE:g} of their usual time here: a lost agent is noticed within seconds."
TALK_LINES = 6
COLUMNS = 2  # of items side by side, so that all fit into 24 lines of 80 characters
SIGNS = {
    Status.SCHEDULED: ("…", "yellow"),
    Status.BLOCKED: ("…", "yellow"),
    Status.READY: ("·", "white"),
    Status.CLAIMED: ("▸", "cyan"),
    Status.DONE: ("✓", "green"),
    Status.DEAD: ("✗", "red"),
    Status.CANCELLED: ("-", "white"),
    Status.DISCARDED: ("-", "white"),
}


class Output(Console):
    """Standard output. Once nobody reads it, `gone` is called and nothing more is written."""

    def __init__(self, gone: Callable[[], None]) -> None:
        super().__init__(highlight=False)
        self._gone = gone

    def on_broken_pipe(self) -> None:
        """Let the demo end in order; rich would end the process, and leave the fabric behind."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._gone()


class View(Protocol):
    """Where the story shows itself."""

    def say(self, text: str) -> None:
        """Show one line of what happens."""

    def state(self, agents: Sequence[AgentView], items: Mapping[str, WorkView], done_by: Mapping[str, str]) -> None:
        """Show how agents and items stand; `done_by` tells who did an item."""


class Lines:
    """One line for each thing that happens or changes, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is open."""

    def say(self, text: str) -> None:
        """Print it."""
        self._console.print(Text(f"{time.monotonic() - self._began:5.1f} s  {text}"), soft_wrap=True)

    def state(self, agents: Sequence[AgentView], items: Mapping[str, WorkView], done_by: Mapping[str, str]) -> None:
        """Print what is not as it was."""
        for agent in agents:
            self._changed(f"agent {agent.handle}", f"is {'offline' if agent.status is AgentStatus.OFFLINE else 'here'}")
        for name, item in items.items():
            if item.status is not Status.DONE or name in done_by:  # who did it says so a moment later
                self._changed(name, _stand(item, done_by))

    def _changed(self, name: str, stand: str) -> None:
        if self._shown.get(name) != stand:
            self._shown[name] = stand
            self.say(f"{name} {stand}")


class Screen:
    """Agents, items and the last lines of talk, painted anew in place."""

    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._talk: deque[str] = deque(maxlen=TALK_LINES)
        self._agents: Sequence[AgentView] = ()
        self._items: Mapping[str, WorkView] = {}
        self._done_by: Mapping[str, str] = {}
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Add it to the talk."""
        self._talk.append(text)
        self._paint()

    def state(self, agents: Sequence[AgentView], items: Mapping[str, WorkView], done_by: Mapping[str, str]) -> None:
        """Paint it."""
        self._agents, self._items, self._done_by = agents, items, done_by
        self._paint()

    def _paint(self) -> None:
        title = Text(f"loominal demo  {time.monotonic() - self._began:4.1f} s", style="bold")
        talk = (Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._talk)
        self._live.update(Group(title, self._agent_table(), self._item_table(), *talk), refresh=True)

    def _agent_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for agent in self._agents:
            here = agent.status is not AgentStatus.OFFLINE
            table.add_row(
                Text("●" if here else "○", style="green" if here else "red"),
                Text(agent.handle, style="bold"),
                agent.agent_type,
                Text(self._doing(agent.handle) if here else "gone", no_wrap=True, overflow="ellipsis"),
            )
        return table

    def _doing(self, handle: str) -> str:
        held = [item for item in self._items.values() if item.claimed_by == handle]
        return " ".join(f"{item.task_id}{_percent(item)}" for item in held) or "waits for work"

    def _item_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        cells = [self._item(name, item) for name, item in self._items.items()]
        for first in range(0, len(cells), COLUMNS):
            table.add_row(*cells[first : first + COLUMNS])
        return table

    def _item(self, name: str, item: WorkView) -> Text:
        sign, style = SIGNS[item.status or Status.READY]
        return Text.assemble((sign, style), f" {name:<16}", (f"{_stand(item, self._done_by)[:19]:<19}", "dim"))


def verdict(console: Console, found: Iterable[Check], seconds: float) -> bool:
    """Print every check with what speaks against it, and one line for all; return whether nothing does."""
    wrong = 0
    for check in found:
        sign, style = ("✗", "red") if check.problems else ("✓", "green")
        console.print(Text.assemble((sign, style), f" {check.claim}"), soft_wrap=True)
        for problem in check.problems:
            console.print(Text(f"    {problem}"), soft_wrap=True)
        wrong += bool(check.problems)
    told = "everything is as it should be" if not wrong else f"{wrong} things are not as they should be"
    console.print(Text(f"{told}, after {seconds:.1f} s", style="bold green" if not wrong else "bold red"))
    if not wrong:
        console.print("a fabric that stays: loominal up --detach", style="dim", soft_wrap=True)
    return not wrong


def _stand(item: WorkView, done_by: Mapping[str, str]) -> str:
    """Return in a few words how an item stands."""
    match item.status:
        case Status.CLAIMED:
            again = f", attempt {item.attempt}" if item.attempt > 1 else ""
            return f"with {item.claimed_by}{again}"
        case Status.DONE:
            return f"done by {done_by.get(item.task_id, '?')}"
        case Status.SCHEDULED:
            return f"again soon ({item.attempt} of {item.max_attempts})"
        case Status.DEAD:
            return f"dead, {item.attempt} attempts"
        case status:
            return str(status)


def _percent(item: WorkView) -> str:
    return f" {item.progress.percent:.0f} %" if item.progress and item.progress.percent else ""
