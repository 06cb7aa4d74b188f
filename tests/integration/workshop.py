"""What the tests of work share: crews of agents, and the project as its hub sees it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from chaos.proxy import Line
from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import Arguments
from loominal.fabric.operations.work import WorkDetail, WorkView
from loominal.fabric.protocol import PROTO, Request, encode
from loominal.fabric.runtime_file import machine_credential_path, read_runtime, write_runtime
from loominal.model import record
from loominal.model.errors import BoundaryRefused, InvalidArgument
from loominal.model.policy import Policy, Rule
from loominal.model.work import ENDED
from tests.checker import Checked, check, read_work
from tests.integration.fabric import Fabric
from tests.patience import SOON

CAPABILITY = "python"


class Workshop:
    """One project of the fabric: agents by handle, and what its log says in the end."""

    def __init__(self, fabric: Fabric, project: str, stack: contextlib.AsyncExitStack) -> None:
        self.fabric = fabric
        self.project = project
        self._stack = stack

    async def agent(self, handle: str, *, home: Path | None = None, **registration: Any) -> Agent:
        """Return an agent in this process that stays until the test ends."""  # Any: whatever `connect` takes
        chosen = {"capabilities": [CAPABILITY], "max_concurrent": 10, **registration}
        entered = connect(handle, project=self.project, home=home or self.fabric.home, **chosen)
        return await self._stack.enter_async_context(entered)

    async def broker(self) -> Broker:
        """Return a connection with the hub's rights in the project."""
        credential = self.fabric.keyring.hub_credential(self.project, "test")
        inbox = subjects.reply_prefix(f"test-{uuid.uuid4().hex[:8]}")
        entered = Broker.connect(
            self.fabric.url, name="test", inbox=inbox, credential=lambda: credential, wait_seconds=SOON
        )
        return await self._stack.enter_async_context(entered)

    async def check(self) -> Checked:
        """Return the work log, replayed; no record of it may be an illegal step."""
        log = Log(await self.broker(), subjects.work_stream(self.project))
        checked = check(self.project, await read_work(log, self.project))
        assert checked.faults == []
        return checked

    async def set_policy(self, policy: Policy, sample: Agent) -> None:
        """Write the project's policy; return when the hub knows it, as `sample` finds out without making an item."""
        mark = f"mark-{uuid.uuid4().hex[:8]}"
        policy = msgspec.structs.replace(policy, boundaries=policy.boundaries | {mark: Rule()})
        bucket = Bucket(await self.broker(), subjects.registry_bucket(self.project))
        old = await bucket.get("policy")
        await bucket.write("policy", record.encode(policy), revision=old.revision if old else 0)
        async with asyncio.timeout(SOON):
            while True:
                try:
                    await sample.broadcast_work_offer("never made", boundary=mark, deadline="2001-01-01T00:00:00Z")
                except BoundaryRefused:
                    await asyncio.sleep(0.02)
                except InvalidArgument:  # for its deadline: the boundary is known
                    return

    def home_behind(self, line: Line, directory: Path) -> Path:
        """Return `directory` as a home of this machine from which the fabric is reached over `line`."""
        runtime = read_runtime(self.fabric.home)
        assert runtime is not None
        shutil.copy(machine_credential_path(self.fabric.home), machine_credential_path(directory))
        write_runtime(directory, msgspec.structs.replace(runtime, url=line.url))
        return directory


@contextlib.asynccontextmanager
async def open_workshop(fabric: Fabric, project: str) -> AsyncIterator[Workshop]:
    """Yield a workshop whose agents leave at the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        yield Workshop(fabric, project, stack)


async def claim(agent: Agent, seconds: float = SOON) -> WorkView:
    """Return the one item that `agent` gets within `seconds`."""
    found = await agent.claim_work(wait_seconds=seconds)
    [item] = found.work
    return item


async def ended(agent: Agent, work_id: str, seconds: float = SOON) -> WorkDetail:
    """Return an item that has ended."""
    detail = await agent.get_work(work_id, wait_seconds=seconds)
    assert detail.status in ENDED, detail
    return detail


async def until_status(agent: Agent, work_id: str, *statuses: str, seconds: float = SOON) -> WorkDetail:
    """Return the item once it stands in one of `statuses`."""
    async with asyncio.timeout(seconds):
        while (found := await agent.get_work(work_id)).status not in statuses:  # noqa: ASYNC110 - nothing tells of a claim
            await asyncio.sleep(0.02)
    return found


def moves_of(detail: WorkDetail) -> list[str]:
    """Return the item's history without what is said to its offerer."""
    return [entry.move for entry in detail.history if entry.move != "tell"]


async def ask_unheard(agent: Agent, operation: str, args: Arguments, op: str) -> None:
    """Send a request as `agent` whose answer nobody hears."""
    assert isinstance(args, OPERATIONS[operation].arguments)
    request = Request(proto=PROTO, op=op, incarnation=agent.incarnation, args=msgspec.Raw(encode(args)))
    subject = subjects.request(agent.project.id, operation, agent.guid)
    reply = f"{subjects.reply_prefix(agent.guid)}.unheard"
    await agent._session.broker.publish(subject, encode(request), reply=reply)
