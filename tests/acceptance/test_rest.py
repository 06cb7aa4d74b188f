"""Work over HTTP beside the tools and live events: each sees what happens, also when weft is killed at every turn."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.keyring import Keyring
from loominal.broker.log import Log
from loominal.fabric.hub.work.book import read
from loominal.model.work_events import told
from tests.acceptance.test_lifecycle import Home
from tests.acceptance.warps import Json, Warp, warp
from tests.integration.conftest import eventually
from tests.integration.event_reader import Resuming, place_of
from tests.integration.fabric import Fabric
from tests.patience import SOON

Interruption = Callable[[], Awaitable[None]]
PROGRESS = "work:progress"  # is in no log, and not told again


class Rest:
    """Weft's interface in `home`, wherever it listens at the moment; whoever gets no answer asks the same again."""

    def __init__(self, home: Path, project: str, client: httpx2.AsyncClient) -> None:
        self.home = home
        self.project = project
        self._client = client

    async def get(self, path: str) -> Json:
        return await self._ask("GET", path, None)

    async def post(self, path: str, **body: Json) -> Json:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: Json) -> Json:
        query, key = {"projectId": self.project}, uuid4().hex
        async with asyncio.timeout(SOON):
            while True:
                url, bearer = place_of(self.home)
                headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": key}
                try:
                    answer = await self._client.request(method, url + path, params=query, headers=headers, json=body)
                except (httpx2.TransportError, OSError):
                    answer = None
                if answer is not None and answer.status_code != 503:
                    assert answer.is_success, answer.text
                    return answer.json()
                await asyncio.sleep(0.05)


class Sights:
    """The same work as HTTP, a tool and a reader of events show it."""

    def __init__(self, rest: Rest, watcher: Warp, reader: Resuming) -> None:
        self.rest = rest
        self.watcher = watcher
        self.reader = reader

    async def show(self, item: str, status: str, event: str) -> None:
        """Return when all three show that an item stands so, and how it came to."""

        async def everywhere() -> bool:
            seen = await self.rest.get(f"/api/work/{item}"), await self.watcher.tool("get_work", workId=item)
            types = [each.type for each in self.reader.events if each.data["data"]["id"] == item]
            return [each.get("status") for each in seen] == [status] * 2 and types[-1:] == [event]

        await eventually(everywhere, SOON)

    async def submit(self, description: str) -> str:
        offered = await self.rest.post("/api/work", description=description, capability="go")
        return str(offered["id"])

    async def walk(self, worker: Warp, interrupted: Interruption) -> list[str]:
        """Bring items through every state, `interrupted` at each; return their ids."""

        async def reaches(item: str, status: str, event: str) -> None:
            await self.show(item, status, event)
            await interrupted()
            await self.show(item, status, event)

        first = await self.submit("is done")
        await reaches(first, "ready", "work:submitted")
        await claim(worker, first)
        await reaches(first, "claimed", "work:claimed")
        await worker.tool("complete_work", workId=first, summary="did")
        await reaches(first, "done", "work:completed")

        second = await self.submit("dies twice")
        await claim(worker, second)
        await worker.tool("fail_work", workId=second, error="no", retryable=False)
        await reaches(second, "dead", "work:dead")
        await self.rest.post(f"/api/dead-letters/{second}/retry")
        await reaches(second, "ready", "work:ready")
        await claim(worker, second)
        await worker.tool("release_work", workId=second)
        await self.show(second, "ready", "work:ready")
        await claim(worker, second)
        await worker.tool("fail_work", workId=second, error="never", retryable=False)
        await self.rest.post(f"/api/dead-letters/{second}/discard")
        await self.show(second, "discarded", "work:discarded")

        third = await self.submit("is called off")
        await self.rest.post(f"/api/work/{third}/cancel")
        await reaches(third, "cancelled", "work:cancelled")
        return [first, second, third]


async def claim(worker: Warp, item: str) -> None:
    [claimed] = (await worker.tool("claim_work", waitSeconds=SOON))["work"]
    assert claimed["id"] == item


async def logged(home: Path, url: str, project: str) -> list[tuple[str, str]]:
    """Return what the log of work tells: types of events and their items, in order."""
    credential = Keyring.open(home / "keys").hub_credential(project, "test")
    async with Broker.connect(
        url, name="test", inbox=subjects.reply_prefix("test"), credential=lambda: credential, wait_seconds=SOON
    ) as broker:
        records = await Log(broker, subjects.work_stream(project)).page(subjects.every("wk", project), 1, 10_000)
    items = (read(record).item for record in records)
    return [(kind, item.id) for item in items for kind in told(item)]


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=SOON) as client:
        yield client


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose fabric is supervised, with the times that are shipped: a claim outlives weft's restart."""
    made = Home(tmp_path / "home", LOOMINAL_TIMINGS_SCALE="1")
    yield made
    assert made.run("down").returncode == 0


async def test_http_tools_and_events_show_the_same_at_once(
    fabric: Fabric, ann: Warp, bob: Warp, project: str, client: httpx2.AsyncClient
) -> None:
    async with Resuming([fabric.home], projectId=project, topics="work").running() as reader:
        sights = Sights(Rest(fabric.home, project, client), ann, reader)
        item = await sights.submit("tells how far it is")
        await claim(bob, item)
        await bob.tool("report_progress", workId=item, percent=40)
        await sights.show(item, "claimed", PROGRESS)
        assert (await sights.rest.get(f"/api/work/{item}"))["progress"]["percent"] == 40
        await bob.tool("complete_work", workId=item, summary="did")

        await sights.walk(bob, nothing)

        expected = await logged(fabric.home, fabric.url, project)
        await eventually(lambda: len(reader.events) >= len(expected) + 1, SOON)
    assert [(each.type, each.data["data"]["id"]) for each in reader.events if each.type != PROGRESS] == expected


async def nothing() -> None:
    """Interrupt nothing."""


async def test_weft_killed_at_every_state_loses_and_doubles_nothing(home: Home, client: httpx2.AsyncClient) -> None:
    url, project = home.up().url, "shop"

    async def kill_weft() -> None:
        killed = home.runtime().weft_pid
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: home.runtime().weft_pid not in (0, killed), SOON)

    async with (
        warp(home.path, project=project) as ann,
        warp(home.path, project=project, client="codex-mcp-client") as bob,
        Resuming([home.path], projectId=project, topics="work").running() as reader,
    ):
        await ann.tool("join", handle="ann", capabilities=["python"])
        await bob.tool("join", handle="bob", capabilities=["go"])
        sights = Sights(Rest(home.path, project, client), ann, reader)

        items = await sights.walk(bob, kill_weft)

        expected = await logged(home.path, url, project)
        await eventually(lambda: len(reader.events) >= len(expected), SOON)
        listed = await sights.rest.get("/api/work")
    assert [(each.type, each.data["data"]["id"]) for each in reader.events] == expected
    assert (listed["total"], {each["id"] for each in listed["items"]}) == (3, set(items))
    assert reader.said == []
    assert reader.connects > 1
