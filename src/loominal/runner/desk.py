"""Where the processes that work on an item ask: the socket through which their warp is the runner's agent.

Each run has a socket of its own, so that nobody ends the item of another.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from loominal.fabric.answering import answering
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.attached import Asked, answer
from loominal.fabric.operations.work import CompleteWork, FailWork, ReleaseWork, ReportProgress, WorkMoved, WorkView
from loominal.fabric.protocol import PROTO, Answer, arguments, encode, encode_answer
from loominal.fabric.slot_socket import listening
from loominal.model.errors import Forbidden, LoominalError
from loominal.model.work import Status, Usage

AboutAnItem: TypeAlias = CompleteWork | FailWork | ReleaseWork | ReportProgress
ABOUT_AN_ITEM: dict[str, type[AboutAnItem]] = {
    "complete_work": CompleteWork,
    "fail_work": FailWork,
    "release_work": ReleaseWork,
    "report_progress": ReportProgress,
}
ENDS = ABOUT_AN_ITEM.keys() - {"report_progress"}
KEPT = "the result is kept and recorded as soon as this process ends: end now"


class Desk:
    """One run's socket. `ended` says whether its item was ended through it.

    What completes the item is kept as `delivered`, for the runner to tell when the process is over: only then is known
    what it has cost and what it has left. Of what ends the item at once, `used` says what it has cost so far.
    """

    def __init__(self, agent: Agent, item: WorkView, used: Callable[[], Usage | None]) -> None:
        self.ended = ""  # by which operation
        self.ended_at = 0.0  # by the monotonic clock
        self.delivered: CompleteWork | None = None
        self._agent = agent
        self._item = item
        self._used = used

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
            args = self._checked(asked)
        except LoominalError as error:
            return encode(Answer(proto=PROTO, error=error.problem()))
        if isinstance(args, CompleteWork) and self._keeps:
            self._note_end(asked.operation, args)
            view = WorkMoved(work_id=self._item.id, status=Status.CLAIMED, note=KEPT)
            return encode(Answer(proto=PROTO, ok=msgspec.Raw(encode_answer(view))))
        if isinstance(args, FailWork | ReleaseWork):
            args = msgspec.structs.replace(args, usage=self._used())
        if args is not None:
            asked = msgspec.structs.replace(asked, args=msgspec.Raw(encode(args)))
        said = await answer(self._agent, asked)
        if asked.operation in ENDS and said.error is None:
            self._note_end(asked.operation)
        return encode(said)

    @property
    def _keeps(self) -> bool:
        """Whether a result can be kept; the hub says why not."""
        open_yet = not self.ended or self.delivered is not None
        return open_yet and self._item.id in self._agent.holds

    def _note_end(self, operation: str, delivered: CompleteWork | None = None) -> None:
        self.ended, self.ended_at, self.delivered = operation, time.monotonic(), delivered

    def _checked(self, asked: Asked) -> AboutAnItem | None:
        """Return what is asked for about an item, None for all else. Raises: Forbidden for another; InvalidArgument."""
        kind = ABOUT_AN_ITEM.get(asked.operation)
        if kind is None:
            return None
        args = arguments(kind, asked.args)
        if args.work_id not in {self._item.id, self._item.task_id}:
            raise Forbidden(f"this process works on {self._item.id} alone", f'workId is "{self._item.id}"')
        return msgspec.structs.replace(args, work_id=self._item.id)
