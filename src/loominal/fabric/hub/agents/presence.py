"""Presence: which process speaks for each agent and when it was last heard. Soft: a new leader learns it by listening.

The dispatcher reports what it hears, the judging round asks who went silent. All times are monotonic seconds.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from loominal.broker.event import Event
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.identity import Hello

SILENT = Hello()  # what is known of a process that has not said hello to this hub


@dataclass(slots=True)
class Process:
    """The one process that speaks for an agent now."""

    incarnation: str
    hello: Hello
    seen_at: float
    disconnected_at: float | None = None  # nothing was heard since the broker saw its connection end
    closed: bool = False  # and it was the process's side that ended it
    left_at: float | None = None  # when it said that it ends
    polled_at: float | None = None  # when it last waited for work
    ended_because: str | None = None  # an operator has ended it: no sign of life brings it back

    def online(self, now: float, timings: Timings) -> bool:
        """Return whether it is alive, as well as one can know."""
        if self.left_at is not None or self.cut_off(now, timings):
            return False
        return now - self.seen_at < timings.offline_seconds

    def cut_off(self, now: float, timings: Timings) -> bool:
        """Return whether its connection ended and it was not heard again within the grace."""
        return self.disconnected_at is not None and now - self.disconnected_at >= timings.grace_seconds


class Presence:
    """The processes behind one project's agents."""

    def __init__(self, since: float | None = None) -> None:
        self._since = time.monotonic() if since is None else since  # nothing was heard before
        self._processes: dict[str, Process] = {}
        # those whose going offline has not been reported, whose last sign of life is oldest first
        self._online: OrderedDict[str, None] = OrderedDict()
        self._parting: set[str] = set()  # of which it is known that they end, or that their connection did
        self.someone = Event()  # set while there are any, and until a round has looked at what `stir` told of

    def clear(self, since: float) -> None:
        """Forget everybody: the project was loaded anew at `since`."""
        self._since = since
        self._processes.clear()
        self._online.clear()
        self._parting.clear()
        self.someone.clear()

    # what is heard

    def hello(self, agent: str, incarnation: str, hello: Hello, now: float) -> str:
        """Take `incarnation` as the agent's process from now on; return the one it replaces, "" if none.

        The client holds the lock of the agent's slot, so whoever says hello last is right.
        """
        old = self._processes.get(agent)
        if old is not None and old.incarnation == incarnation:
            old.hello = hello
            self._alive(agent, old, now)
            return ""
        self._processes[agent] = Process(incarnation, hello, now)
        self._is_there(agent)
        return "" if old is None else old.incarnation

    def seen(self, agent: str, incarnation: str, now: float) -> bool:
        """Note a request; return False if another process has taken over the agent.

        A request does not bring back a process that has left: its hooks may outlive it for a moment.
        """
        process = self._current(agent, incarnation, now)
        if process is not None and process.left_at is None:
            self._alive(agent, process, now)
        return process is not None

    def beat(self, agent: str, incarnation: str, now: float, *, leaving: bool = False) -> bool:
        """Note a heartbeat, the last one if `leaving`; return False if another process has taken over the agent."""
        process = self._current(agent, incarnation, now)
        if process is not None:
            self._alive(agent, process, now)
            if leaving:
                process.left_at = now
                self._parting.add(agent)
        return process is not None

    def disconnected(self, agent: str, now: float, *, closed: bool = False) -> None:
        """Note that the broker saw a connection of `agent` end; the next sign of life takes it back.

        `closed`: by the agent's side, as when its process ends, and not because nothing was heard of it.
        """
        process = self._processes.get(agent)
        if process is not None and process.disconnected_at is None:
            process.disconnected_at, process.closed = now, closed
            self._parting.add(agent)

    def connected(self, agent: str, now: float) -> None:
        """Note that the broker saw `agent` connect; one that is not known yet will say hello."""
        process = self._processes.get(agent)
        if process is not None and process.left_at is None:
            self._alive(agent, process, now)

    def left(self, agent: str, now: float) -> None:
        """Note that the agent's process has ended, or is cut off for good: offline at once."""
        process = self._processes.get(agent)
        if process is not None:
            process.left_at = process.seen_at = now
            self._parting.add(agent)

    def end(self, agent: str, incarnation: str, reason: str, now: float) -> None:
        """Take that process as ended for good; another one may be the same agent, now or later."""
        process = self._processes.get(agent)
        if process is not None and process.incarnation == incarnation:
            process.ended_because = reason
            self.left(agent, now)

    def polled(self, agent: str, now: float) -> None:
        """Note that `agent` asks for work."""
        if process := self._processes.get(agent):
            process.polled_at = now

    def stir(self) -> None:
        """Have the next round look: somebody who is no agent has changed something."""
        self.someone.set()

    def renew(self, now: float) -> None:
        """Give everybody the time to be heard again: this hub could not listen."""
        self._since = now
        for process in (self._processes[agent] for agent in self._online):
            process.seen_at = now
            if process.disconnected_at is not None:
                process.disconnected_at = now

    # what is known

    def current(self, agent: str) -> str:
        """Return the incarnation that speaks for `agent`, "" if none was heard."""
        process = self._processes.get(agent)
        return "" if process is None else process.incarnation

    def ended_because(self, agent: str, incarnation: str) -> str | None:
        """Return why that process was ended by an operator, None if it was not."""
        process = self._processes.get(agent)
        return process.ended_because if process is not None and process.incarnation == incarnation else None

    def greeting(self, agent: str) -> Hello:
        """Return what the agent's process said of itself; all empty if it has not said hello to this hub."""
        process = self._processes.get(agent)
        return SILENT if process is None else process.hello

    def is_online(self, agent: str, now: float, timings: Timings) -> bool:
        """Return whether the agent's process is alive, as well as one can know."""
        process = self._processes.get(agent)
        return process is not None and process.online(now, timings)

    def is_gone(self, agent: str, now: float, timings: Timings) -> bool:
        """Return whether no process lives for `agent`; a hub that has just begun to listen cannot say so yet."""
        if agent in self._processes:
            return not self.is_online(agent, now, timings)
        return now - self._since >= timings.offline_seconds

    def has_left(self, agent: str, now: float, timings: Timings) -> bool:
        """Return whether the agent's process said that it ends, and no other took over within the grace."""
        process = self._processes.get(agent)
        left_at = process.left_at if process else None
        return left_at is not None and now - left_at >= timings.grace_seconds

    def seen_to_end(self, agent: str, now: float, timings: Timings) -> bool:
        """Return whether the broker saw the agent's connection end, and it was not heard again within the grace."""
        process = self._processes.get(agent)
        return process is not None and process.left_at is None and process.closed and process.cut_off(now, timings)

    def seen_at(self, agent: str) -> float | None:
        """Return when `agent` last gave a sign of life, None if this hub has not heard it."""
        process = self._processes.get(agent)
        return None if process is None else process.seen_at

    def polled_at(self, agent: str) -> float | None:
        """Return when the agent's process last asked for work, None if it never did."""
        process = self._processes.get(agent)
        return None if process is None else process.polled_at

    def known(self) -> Iterator[str]:
        """Yield who is online, and who went offline since the last round."""
        yield from self._online

    def online_count(self, now: float, timings: Timings) -> int:
        """Return how many agents are online, registered or not."""
        return len(self._online) - len(self._gone(now, timings))

    def among(self, agents: AbstractSet[str], now: float, timings: Timings) -> AbstractSet[str]:
        """Return those of `agents` that are online."""
        found, gone = agents & self._online.keys(), self._gone(now, timings)
        return found - gone if gone else found

    def offline_now(self, now: float, timings: Timings) -> list[str]:
        """Return the agents that went offline since they were last reported; each is reported once."""
        gone = sorted(self._gone(now, timings))
        for agent in gone:
            del self._online[agent]
            self._parting.discard(agent)
        if not self._online:
            self.someone.clear()
        return gone

    def _gone(self, now: float, timings: Timings) -> set[str]:
        """Return who went offline since it was last reported; looks at few others."""
        gone = {agent for agent in self._parting & self._online.keys() if not self.is_online(agent, now, timings)}
        for agent in self._online:
            if now - self._processes[agent].seen_at < timings.offline_seconds and agent not in self._parting:
                break
            if not self.is_online(agent, now, timings):
                gone.add(agent)
        return gone

    def _current(self, agent: str, incarnation: str, now: float) -> Process | None:
        """Return the agent's process if `incarnation` is it; the first one heard is."""
        process = self._processes.get(agent)
        if process is None:
            process = self._processes[agent] = Process(incarnation, SILENT, now)
        return process if process.incarnation == incarnation else None

    def _alive(self, agent: str, process: Process, now: float) -> None:
        if process.ended_because is not None:
            return
        process.seen_at, process.disconnected_at, process.left_at = now, None, None
        self._is_there(agent)

    def _is_there(self, agent: str) -> None:
        self._parting.discard(agent)
        self._online[agent] = None
        self._online.move_to_end(agent)
        self.someone.set()
