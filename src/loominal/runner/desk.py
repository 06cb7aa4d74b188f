"""Where the processes that work on an item ask: the socket through which their warp is the runner's agent.

Each run has a socket of its own, so that nobody ends the item of another.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from loominal.fabric.answering import answering
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.attached import Asked, answer
from loominal.fabric.operations.work import CompleteWork, FailWork, ReleaseWork, ReportProgress, WorkView
from loominal.fabric.protocol import PROTO, Answer, arguments, encode
from loominal.fabric.slot_socket import listening
from loominal.model.errors import Forbidden, LoominalError

ABOUT_AN_ITEM: dict[str, type[CompleteWork | FailWork | ReleaseWork | ReportProgress]] = {
    "complete_work": CompleteWork,
    "fail_work": FailWork,
    "release_work": ReleaseWork,
    "report_progress": ReportProgress,
}
ENDS = ABOUT_AN_ITEM.keys() - {"report_progress"}


class Desk:
    """One run's socket. `ended` says whether its item was ended through it."""

    def __init__(self, agent: Agent, item: WorkView, add: Callable[[CompleteWork], Awaitable[CompleteWork]]) -> None:
        self.ended = ""  # by which operation
        self.ended_at = 0.0  # by the monotonic clock
        self._agent = agent
        self._item = item
        self._add = add  # what the runner knows of the result, and who delivers it does not

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[None]:
        """Answer at the socket in `folder` while the block runs. Raises: OSError."""
        with listening(folder, "") as place:
            async with answering(place, self._answer):
                yield

    async def _answer(self, line: bytes) -> bytes:
        """Return the answer. Raises: DecodeError for what is no question; hooks ask otherwise, and are told nothing."""
        asked = msgspec.json.decode(line, type=Asked)
        try:
            asked = await self._checked(asked)
        except LoominalError as error:
            return encode(Answer(proto=PROTO, error=error.problem()))
        said = await answer(self._agent, asked)
        if asked.operation in ENDS and said.error is None:
            self.ended, self.ended_at = asked.operation, time.monotonic()
        return encode(said)

    async def _checked(self, asked: Asked) -> Asked:
        """Return what is asked for. Raises: Forbidden for another item; InvalidArgument."""
        kind = ABOUT_AN_ITEM.get(asked.operation)
        if kind is None:
            return asked
        args = arguments(kind, asked.args)
        if args.work_id not in {self._item.id, self._item.task_id}:
            raise Forbidden(f"this process works on {self._item.id} alone", f'workId is "{self._item.id}"')
        args = msgspec.structs.replace(args, work_id=self._item.id)
        if isinstance(args, CompleteWork):
            args = await self._add(args)
        return msgspec.structs.replace(asked, args=msgspec.Raw(encode(args)))
