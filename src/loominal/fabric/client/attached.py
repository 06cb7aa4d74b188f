"""Being an agent beside its own process: what is asked goes through that process's socket, and so in its name.

The agent's process, the primary, keeps heartbeats, claims and lease tokens to itself and answers with `answer`. Who may
open the socket is its user; warp and `connect` attach where `LOOMINAL_ATTACH` names one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loominal.fabric.client.calls import EveryCall
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.project_id import ProjectName
from loominal.fabric.protocol import PROTO, Answer, Control, arguments, encode, encode_answer
from loominal.fabric.slot_socket import connected
from loominal.model.errors import BrokerUnavailable, Forbidden, Internal, LoominalError, error_from

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

ANSWER_BYTES = 16 << 20  # more than a hub answers
WAIT_SECONDS = 120.0  # for an answer; what waits for others waits at most 50 s
MAY = frozenset(name for name, operation in OPERATIONS.items() if operation.reads and not operation.operator) | {
    "get_my_handle",
    "read_direct_messages",
    "wait_for_events",
    "send_message",
    "send_direct_message",
    "broadcast_work_offer",
    "report_progress",
    "complete_work",
    "fail_work",
    "release_work",
}


class Asked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an attached process wants done."""

    operation: str
    args: msgspec.Raw
    limit_bytes: int | None = None
    op: str = ""


class Attached(EveryCall):
    """An agent whose own process is another one: reads, writes, reports and ends its work, and holds nothing."""

    holds: tuple[str, ...] = ()
    stalled: tuple[str, ...] = ()
    draining = False  # that is told to its own process, which a runner's client need not know
    ends_at = None
    ended = None

    def __init__(self, path: Path) -> None:
        self.guid = ""
        self.handle = ""
        self.project = ProjectName(id="", title="", why="")
        self._path = path

    async def call(
        self,
        operation: str,
        args: Arguments,
        *,
        timeout_seconds: float | None = None,
        limit_bytes: int | None = None,
        op: str = "",
    ) -> View:
        """Return the answer to any operation that an attached process may ask for.

        Raises: Forbidden for another one; BrokerUnavailable if the agent's process has ended; what was answered.
        """
        question = encode(Asked(operation=operation, args=msgspec.Raw(encode(args)), limit_bytes=limit_bytes, op=op))
        try:
            async with asyncio.timeout(timeout_seconds or WAIT_SECONDS):
                line = await self._exchange(question)
            answer = msgspec.json.decode(line, type=Answer)
        except (OSError, TimeoutError, ValueError, msgspec.DecodeError) as error:
            raise BrokerUnavailable("the agent's own process does not answer", "it may have ended") from error
        if answer.error is not None:
            raise error_from(answer.error)
        try:
            return msgspec.json.decode(answer.ok, type=OPERATIONS[operation].answer)
        except msgspec.DecodeError as error:
            raise Internal(f"the answer to {operation} cannot be read: {error}") from error

    def on_mail(self, callback: Callable[[], None]) -> None:
        """Call nothing: its own process hears of mail."""

    def on_control(self, callback: Callable[[Control], None]) -> None:
        """Call nothing: its own process hears the hub's nudges."""

    def cancel_requested(self, work_id: str) -> bool:  # noqa: ARG002 - as an agent's
        """Return False: it holds nothing."""
        return False

    def lost(self, work_id: str) -> bool:  # noqa: ARG002 - as an agent's
        """Return False: it holds nothing."""
        return False

    def touch(self) -> None:
        """Do nothing: it holds nothing."""

    async def _exchange(self, question: bytes) -> bytes:
        place = connected(self._path)
        if place is None:
            raise ConnectionRefusedError(self._path)
        place.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=place, limit=ANSWER_BYTES)
        try:
            writer.write(question + b"\n")
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()


@asynccontextmanager
async def attach(path: Path) -> AsyncIterator[Attached]:
    """Be the agent whose process listens at `path`. Raises: BrokerUnavailable if none does."""
    agent = Attached(path)
    me = await agent.get_my_handle()
    agent.guid, agent.handle = me.guid, me.handle
    agent.project = ProjectName(id=me.project_id, title=me.project, why="LOOMINAL_ATTACH says so")
    yield agent


async def answer(agent: Agent, asked: Asked, *, may: Collection[str] = MAY) -> Answer:
    """Return what the agent's own process answers an attached one, which `may` ask for these operations."""
    try:
        if asked.operation not in may:
            what = f"{asked.operation[:100]!r} is for the agent's own process, to which this one is attached"
            raise Forbidden(what, "report_progress, complete_work, mail and lists go as ever; it has joined already")
        args = arguments(OPERATIONS[asked.operation].arguments, asked.args)
        view = await agent.call(asked.operation, args, limit_bytes=asked.limit_bytes, op=asked.op)
    except LoominalError as error:
        return Answer(proto=PROTO, error=error.problem())
    return Answer(proto=PROTO, ok=msgspec.Raw(encode_answer(view)))
