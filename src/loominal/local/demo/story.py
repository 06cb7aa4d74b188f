"""What happens in a demo, in order. The boss is this process; everybody talks through the fabric, which starts them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.background import background
from loominal.fabric.client.connect import open_agent
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.operations.channels import ChannelMessage
from loominal.fabric.operations.spin_ups import SpinUpView
from loominal.fabric.operations.work import WorkView
from loominal.local.demo import plan
from loominal.local.demo.journal import Deed, Journals
from loominal.local.demo.place import Place
from loominal.local.demo.seen import Seen
from loominal.local.demo.show import View
from loominal.local.demo.tasks import Request, rounds_for, run
from loominal.model.errors import LoominalError
from loominal.model.grant import CORPORATE
from loominal.model.launch import LIVE, LaunchStatus
from loominal.model.mechanism import Mechanism
from loominal.model.message import WORK_RESULT
from loominal.model.work import ENDED, Status

LOOK_SECONDS = 0.2  # between two looks at agents and items
LISTEN_SECONDS = 0.1  # between two looks at journals
PATIENCE_SECONDS = 30.0  # for anything the story waits for
PAGE = 7  # messages a late joiner reads at once; few, so that it has to turn pages
SPOKEN = {
    Deed.REGISTERED: "registers for {text}",
    Deed.REFUSED: f"asks for {CORPORATE} and is refused: {{text}}",
    Deed.SAID: "says to all: {text}",
    Deed.ASKED: "asks {peer}: {text}",
    Deed.ANSWERED: "hears from {peer}: {text}",
    Deed.FAILED: "cannot do {item}: {text}",
    Deed.LOST: "lost {item}: {text}",
    Deed.OFFERED: "offers {item}",
}


class Sabotage(StrEnum):
    """What a test may spoil, to see that the checks notice."""

    LIE = "lie"  # an agent delivers wrong counts
    SPARE = "spare"  # nobody is killed


class Story:
    """One demo in one place."""

    def __init__(self, place: Place, view: View, seen: Seen, sabotage: frozenset[Sabotage] = frozenset()) -> None:
        self._place = place
        self._view = view
        self._seen = seen
        self._sabotage = sabotage
        self._items: dict[str, WorkView] = {}
        self._launches: tuple[SpinUpView, ...] = ()  # the newest first
        self._told: dict[str, LaunchStatus] = {}
        self._killed = ""
        self._over = False
        self._journals = Journals(place.journals)
        self._changed = asyncio.Event()

    async def tell(self) -> None:
        """Let it happen from the fabric's start to the last agent's leave. Raises: LoominalError when it gets stuck."""
        began = time.monotonic()
        self._place.copy_sources()
        self._view.say("starting a fabric of its own: broker, coordinator")
        await self._place.start_fabric()
        self._view.say(f"the fabric serves, {time.monotonic() - began:.1f} s after its start")
        async with self._connected(plan.BOSS) as boss:
            await boss.register_agent("demo-boss", handle=plan.BOSS)
            async with background(lambda: self._watch(boss), self._listen):
                await self._set_targets(boss)
                await self._hand_out(boss)
                await self._kill_one(boss)
                await self._grant(boss)
                await self._until(lambda: self._open() == set(), "all work to end")
                await self._results(boss)
                await self._look_back(boss)
                await self._send_home(boss)

    @asynccontextmanager
    async def _connected(self, handle: str) -> AsyncIterator[Agent]:
        settings = ClientSettings.from_env(
            self._place.environ, handle=handle, client=handle, operator=handle == plan.BOSS
        )
        async with open_agent(settings) as agent:
            yield agent

    async def _set_targets(self, boss: Agent) -> None:
        """Say how the agents are started; none is, while there is nothing to do."""
        for part in plan.CAST.values():
            await boss.add_target(
                part.handle,
                part.agent_type,
                part.capabilities,
                part.boundaries,
                Mechanism.LOCAL,
                self._place.target(part.handle, lies=Sabotage.LIE in self._sabotage and part.handle == plan.VICTIM),
                max_concurrent=plan.MOST_AT_ONCE,
                cooldown_seconds=0,
                idle_seconds=plan.IDLE_SECONDS,
            )
        found = (await boss.discover_agents(limit=100)).agents
        self._seen.at_first = tuple(agent.handle for agent in found if agent.handle != plan.BOSS)
        self._view.say(f"no agent is here; {len(plan.CAST)} targets say how some are started when work waits")

    async def _hand_out(self, boss: Agent) -> None:
        """Offer the first items, which brings the agents up, and tell them to begin once they have met."""
        for item in plan.FIRST:
            await self._offer(boss, item)
        offered = self._seen.offered[plan.SECRET]
        self._view.say(f"{len(plan.FIRST)} items are offered; {plan.SECRET} waits: {offered.note}")
        await self._until(lambda: len(self._seen.deeds(Deed.ANSWERED)) == len(plan.CAST), "the agents to meet and talk")
        await self._say(boss, "all here: begin", go=True)
        await self._until(lambda: self._open() == {plan.SECRET}, "the first work to end")
        self._seen.before_grant = await boss.get_work(plan.SECRET)

    async def _kill_one(self, boss: Agent) -> None:
        """Offer the long item, and kill the agent that takes it half-way."""
        rounds = await asyncio.to_thread(rounds_for, plan.STEP_SECONDS)
        await self._offer(boss, plan.LAST, rounds)
        if Sabotage.SPARE in self._sabotage:
            return
        await self._until(lambda: self._percent(plan.LONG) >= plan.HALF_WAY, f"{plan.LONG} to be half done")
        holder, self._seen.killed_at = self._items[plan.LONG].claimed_by or "", self._percent(plan.LONG)
        [launch] = (each for each in self._launches if each.handle == holder and each.status in LIVE)
        self._killed = launch.id
        os.kill(int(launch.reference.partition(":")[0]), signal.SIGKILL)
        self._view.say(f"kill -9 {holder}, {self._seen.killed_at:.0f} % into {plan.LONG}")

    async def _grant(self, boss: Agent) -> None:
        """Grant `corporate` to one agent, and tell the two that live to ask for it again."""
        agent_type = plan.CAST[plan.GRANTED].agent_type
        grants = (await boss.list_grants()).grants
        [theirs] = {grant.user for grant in grants if agent_type in grant.agent_types}  # each launch has a user
        await boss.grant_access(user=theirs, boundaries=[CORPORATE], agent_types=[agent_type])
        await self._say(boss, f"{CORPORATE} is granted to {plan.GRANTED}")
        for handle in (plan.GRANTED, plan.REFUSED):
            await boss.send_direct_message(handle, f"ask for {CORPORATE} again", message_type="grant")

    async def _results(self, boss: Agent) -> None:
        """Wait for the news of every end, and find out oneself what is right."""
        told = {item.name for item in (*plan.FIRST, plan.LAST)}
        async with _patience("the news of every end"):
            while told:
                page = await boss.read_direct_messages(limit=50, message_type=WORK_RESULT, wait_seconds=LOOK_SECONDS)
                told -= {str(message.metadata["taskId"]) for message in page.messages}
        await self._until(
            lambda: len(self._seen.deeds(Deed.TOLD)) == len(plan.OFFERED), "the agents to get their results"
        )
        self._view.say(f"{plan.BOSS} has every result and does the work again to compare")
        seen = self._seen
        for name, item in self._items.items():
            seen.items[name] = await boss.get_work(item.id)
        requests = {name: msgspec.convert(item.context_data, Request) for name, item in seen.items.items()}
        for name, request in requests.items():
            if name in (plan.BROKEN, plan.MERGED):
                continue
            seen.expected[name] = await asyncio.to_thread(run, request)
        parents = tuple(seen.expected[parent] for parent in plan.ITEMS[plan.MERGED].after)
        seen.expected[plan.MERGED] = run(requests[plan.MERGED], parents)

    async def _look_back(self, boss: Agent) -> None:
        """Read everything once more: inbox, agents, dead letters, and the channel as one who comes late."""
        seen, cursor = self._seen, None
        while True:
            page = await boss.read_direct_messages(limit=100, unread_only=False, cursor=cursor)
            seen.inbox += page.messages
            if (cursor := page.next_cursor) is None:
                break
        seen.dead_letters = list((await boss.list_dead_letter_items(limit=100)).items)
        found = await boss.discover_agents(include_offline=True, limit=100)
        seen.agents = {agent.handle: agent for agent in found.agents}
        async with self._connected(plan.LATE) as late:
            await late.set_handle(plan.LATE)
            seen.history = await _whole_channel(late)
        self._view.say(f"{plan.LATE} joins and reads all {len(seen.history)} messages of #{plan.CHANNEL}")

    async def _send_home(self, boss: Agent) -> None:
        """Let the targets' agents go, which are idle, and return when none is left."""
        self._over = True
        self._view.say("nothing more will come: the targets let idle agents go at once")
        for handle in plan.CAST:
            await boss.update_target(handle, idle_seconds=plan.OVER_SECONDS)
        await self._until(lambda: not any(each.status in LIVE for each in self._launches), "the agents to leave")
        self._hear_new()
        self._seen.launches = list(self._launches)
        self._view.say("the fleet is at zero")

    async def _offer(self, boss: Agent, item: plan.Item, rounds: int = 0) -> None:
        self._seen.offered[item.name] = await boss.broadcast_work_offer(
            f"{item.task} {item.path}",
            task_id=item.name,
            capabilities=(item.capability,),
            boundary=item.boundary,
            priority=item.priority,
            depends_on=item.after,
            max_attempts=item.max_attempts,
            preferred_agent_type=item.preferred_agent_type,
            context_data=msgspec.to_builtins(item.request(self._place.sources, rounds)),
        )

    async def _say(self, boss: Agent, text: str, *, go: bool = False) -> None:
        sent = await boss.send_message(plan.CHANNEL, text, metadata={"go": go})
        self._seen.said.append(sent.id)
        self._view.say(f"{plan.BOSS} says to all: {text}")

    async def _listen(self) -> None:
        """Read the agents' journals as they are written."""
        while True:
            self._hear_new()
            await asyncio.sleep(LISTEN_SECONDS)

    def _hear_new(self) -> None:
        for entry in self._journals.new():
            self._seen.journal.append(entry)
            if words := SPOKEN.get(entry.deed):
                self._view.say(f"{entry.agent} {words.format(text=entry.text, peer=entry.peer, item=entry.item)}")
            self._changed.set()

    async def _watch(self, boss: Agent) -> None:
        """Look at agents, launches and items again and again, show them, and wake whoever waits for a change."""
        while True:
            found = await boss.list_work(limit=100)
            self._items = {item.task_id: item for item in reversed(found.items)}
            self._launches = (await boss.list_spin_ups(limit=100)).spin_ups
            self._show_launches()
            agents = (await boss.discover_agents(include_offline=True)).agents
            done_by = {entry.item: entry.agent for entry in self._seen.deeds(Deed.DONE)}
            self._view.state([agent for agent in agents if agent.handle in plan.CAST], self._items, done_by)
            self._changed.set()
            await asyncio.sleep(LOOK_SECONDS)

    def _show_launches(self) -> None:
        """Say what has become of launches since the last look."""
        items = {item.id: item.task_id for item in self._items.values()}
        for each in reversed(self._launches):
            if self._told.get(each.id) is each.status:
                continue
            if each.id not in self._told:
                self._view.say(
                    f"an agent of target {each.target} is started for {items.get(each.work_id, each.work_id)}"
                )
            if each.status not in LIVE:
                self._view.say(f"the agent of {each.target} is {each.status}: {each.detail}")
            self._told[each.id] = each.status

    def _open(self) -> set[str]:
        """Return the items that have not ended, those that are still to be offered among them."""
        ended = {name for name, item in self._items.items() if item.status in ENDED}
        wanted = {*(item.name for item in plan.FIRST), *plan.OFFERED, *self._seen.offered}
        return wanted - ended

    def _percent(self, name: str) -> float:
        item = self._items.get(name)
        running = item is not None and item.status is Status.CLAIMED and item.progress is not None
        return (item.progress.percent or 0.0) if running and item and item.progress else 0.0

    async def _until(self, truth: Callable[[], bool], what: str) -> None:
        """Return once it is true. Raises: LoominalError if nothing moves for PATIENCE_SECONDS, or an agent ended."""
        async with _patience(what) as limit:
            before: object = None
            while not truth():
                now = [(item.status, item.claimed_by, item.progress) for item in self._items.values()]
                if (moved := (now, dict(self._told))) != before:
                    before = moved
                    limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
                self._require_agents()
                self._changed.clear()
                await self._changed.wait()

    def _require_agents(self) -> None:
        """Raise LoominalError if an agent ended that was not to."""
        for each in self._launches:
            if each.status not in LIVE and not self._over and each.id != self._killed:
                words = self._place.last_words(each.id)
                raise LoominalError(f"the agent of {each.target} is {each.status}: {each.detail}: {words}")


@asynccontextmanager
async def _patience(what: str) -> AsyncIterator[asyncio.Timeout]:
    """Let the block take PATIENCE_SECONDS. Raises: LoominalError if it takes longer."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS) as limit:
            yield limit
    except TimeoutError:
        raise LoominalError(f"waited {PATIENCE_SECONDS:g} s in vain for {what}") from None


async def _whole_channel(late: Agent) -> list[ChannelMessage]:
    """Return every message of the channel, oldest first, read from the newest page back."""
    pages: list[tuple[ChannelMessage, ...]] = []
    cursor = None
    while True:
        page = await late.read_messages(plan.CHANNEL, limit=PAGE, cursor=cursor)
        pages.insert(0, page.messages)
        if (cursor := page.next_cursor) is None:
            return [message for messages in pages for message in messages]
