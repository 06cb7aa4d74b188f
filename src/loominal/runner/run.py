"""One item from its claim to its end: a process does it, and whatever comes in between ends that process."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkView
from loominal.fabric.slot_socket import SOCKET
from loominal.fabric.state_directory import home_directory
from loominal.model.agent import JsonObject
from loominal.model.errors import LoominalError
from loominal.model.names import one_line
from loominal.model.work import Artifact, Usage
from loominal.runner.child import Child, child
from loominal.runner.clients.interface import Delivery, Task
from loominal.runner.desk import Desk
from loominal.runner.keeper import Keeper
from loominal.runner.settings import RunnerSettings
from loominal.runner.telling import Teller
from loominal.runner.whole import whole
from loominal.runner.worktree import Worktree, worktree

LOOK_SECONDS = 5.0  # the hub's nudges come at once; one that was missed is noticed so
FINISH_SECONDS = 60.0  # for a client whose model has ended the item itself
HAND_BACK_SECONDS = 10.0  # unheard, the claim lapses
TITLE_CHARACTERS = 100
SHOWN_LINES = 20  # of the end of the output, in a failure
LINE_CHARACTERS = 1000  # of each in the log
SHOWN_CHARACTERS = 1600  # a record keeps 2 KB of it
NOT_FOR_CHILDREN = ("LOOMINAL_ENROLMENT", "LOOMINAL_AGENT_ID", "LOOMINAL_HANDLE", "NATS_")  # and what begins so

log = logging.getLogger(__name__)


class Stop(StrEnum):
    """Why a process is ended before it is done."""

    CANCELLED = "its item was cancelled"
    LOST = "its claim was lost"
    TOLD = "its runner was told to end"
    LATE = "it went on after its item had ended"


class Run:
    """The work on one item."""

    def __init__(
        self, agent: Agent, settings: RunnerSettings, item: WorkView, keeper: Keeper, mark: str, folder: Path
    ) -> None:
        self.item = item
        self._agent = agent
        self._settings = settings
        self._keeper = keeper
        self._mark = mark
        self._folder = folder  # for what its process needs
        self._teller = Teller(agent, item.id)
        self._reader = settings.client.reader()
        self._malformed = 0
        self._told_to_stop = False
        self._stopped: Stop | None = None  # why the process was ended
        self._news = asyncio.Event()
        self._place: Worktree | None = None
        self._desk = Desk(agent, item, self._used)

    def look(self) -> None:
        """See soon whether the item is still to be done."""
        self._news.set()

    def stop(self) -> None:
        """End the process now and hand the item back."""
        self._told_to_stop = True
        self._news.set()

    async def do(self) -> None:
        """Have the item done and say how it ended."""
        log.info("%s: %s", self.item.id, one_line(self.item.description.strip(), TITLE_CHARACTERS))
        try:
            self.item = await whole(self._agent, self.item)
            async with self._where() as folder:
                delivery = await self._attempt(folder)
                branch = await self._place.kept() if self._place is not None else None
                await self._say(_with_branch(delivery, branch))
        except LoominalError as error:  # git's, or the item could not be read
            why = f"{error.message}" + (f" ({error.hint})" if error.hint else "")
            await self._say(self._delivered() or Delivery(error=why))

    @asynccontextmanager
    async def _where(self) -> AsyncIterator[Path]:
        """Yield the directory in which the item is done. Raises: StartFailed."""
        if not self._settings.worktree:
            yield self._settings.folder
            return
        async with worktree(self._settings.folder, self._trees(), self.item, f"{self._mark}.git") as place:
            self._place = place
            yield place.folder

    def _trees(self) -> Path:
        """Return where worktrees are: not in the agent's own folder, which may go with the agent."""
        return home_directory(os.environ) / "worktrees" / self._agent.project.id

    async def _attempt(self, folder: Path) -> Delivery:
        """Run the process to its end and return what came of it."""
        with TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as private:  # its process may use it yet
            task = Task(item=self.item, folder=Path(private), attach=Path(private) / SOCKET)
            try:
                async with self._desk.open(task.folder), self._process(task, folder) as process:
                    code = await self._watched(process)
            except OSError as error:
                return Delivery(error=f"{Path(self._settings.command[0]).name} cannot be run: {error}")
        return self._outcome(code, process)

    @asynccontextmanager
    async def _process(self, task: Task, folder: Path) -> AsyncIterator[Child]:
        start = self._settings.client.start(task)
        environ = _inherited(os.environ) | {"LOOMINAL_ATTACH": str(task.attach), "LOOMINAL_WORK_ID": self.item.id}
        async with child(
            (*self._settings.command, *start.arguments), folder=folder, environ=environ | dict(start.environ),
            stdin=start.stdin, mark=self._mark, take_line=self._read, keeper=self._keeper,
        ) as process:  # fmt: skip
            yield process

    async def _watched(self, process: Child) -> int:
        """Return the process's exit code; it is ended if there is a reason to."""
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(self._end_when_needed(process), name="watch"),
                group.create_task(self._teller.keep_telling(), name="progress"),
            ]
            code = await process.finish()
            for task in beside:
                task.cancel()
        return code

    async def _end_when_needed(self, process: Child) -> None:
        while (reason := self._reason()) is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            self._news.clear()
        self._stopped = reason
        log.info("%s: its process is ended: %s", self.item.id, reason)
        await process.end()

    def _reason(self) -> Stop | None:
        """Return why the process is to be ended now, None while it may go on."""
        if self._told_to_stop:
            return Stop.TOLD
        if self._desk.ended:
            over = time.monotonic() > self._desk.ended_at + FINISH_SECONDS
            return Stop.LATE if over or self._agent.cancel_requested(self.item.id) else None
        if self.item.id not in self._agent.holds:
            return Stop.LOST
        return Stop.CANCELLED if self._agent.cancel_requested(self.item.id) else None

    def _read(self, line: bytes) -> None:
        try:
            progress = self._reader.read(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._malformed += 1
            return
        if progress is not None and not self._desk.ended:
            self._teller.progress(progress)

    def _outcome(self, code: int, process: Child) -> Delivery:
        """Return what the process has delivered, or why it has failed with the last of its output."""
        passed_over = self._malformed + process.lines.too_long
        if passed_over:
            log.warning("%s: lines of its output that were passed over: %d", self.item.id, passed_over)
        if (done := self._delivered()) is not None:
            return done
        delivery = self._reader.delivery
        if delivery is not None and delivery.error:
            why, said = delivery.error, ""
        elif code:
            why, said = f"exit code {code}" if code > 0 else f"signal {-code}", process.errors.text()
        elif delivery is None:
            why, said = "it ended without a result", process.errors.text() or process.printed.text()
        else:
            return msgspec.structs.replace(delivery, result=self._usage() | delivery.result)
        why += f"; lines of its output not understood: {passed_over}" if passed_over and delivery is None else ""
        if self._stopped is None:
            log.info("%s: %s", self.item.id, f"{why}\n{_plain(said)}".strip())
        return Delivery(error=f"{why}\n{_end(said)}".strip())

    def _delivered(self) -> Delivery | None:
        """Return what the client has completed the item with by itself, None if it has not."""
        given = self._desk.delivered
        if given is None:
            return None
        return Delivery(summary=given.summary, result=self._usage() | given.result, artifacts=given.artifacts)

    def _usage(self) -> JsonObject:
        return {"usage": self._reader.usage} if self._reader.usage else {}

    def _used(self) -> Usage | None:
        """Return what has been used up so far; None if the client does not tell, or tells what cannot be."""
        try:
            return msgspec.convert(self._reader.usage, Usage) if self._reader.usage else None
        except msgspec.ValidationError:
            return None

    async def _say(self, delivery: Delivery) -> None:
        """Tell the hub how the item ended, unless that is known there."""
        if self._desk.delivered is not None:
            await self._teller.end(delivery, self._used())
        elif self._desk.ended:
            log.info("%s was ended by its client: %s", self.item.id, self._desk.ended)
        elif self._stopped is Stop.LOST:
            log.warning("%s was lost", self.item.id)
        elif self._stopped is not None:
            await self._hand_back(self._stopped)
        else:
            await self._teller.end(delivery, self._used())

    async def _hand_back(self, reason: Stop) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                await self._teller.hand_back(reason, self._used())
        except TimeoutError:
            log.warning("%s could not be handed back: nobody answers; its lease lapses", self.item.id)


def _with_branch(delivery: Delivery, branch: Artifact | None) -> Delivery:
    if branch is None:
        return delivery
    if delivery.error:
        return msgspec.structs.replace(
            delivery, error=f"{delivery.error}\nleft on the branch {branch.value}, {branch.note}"
        )
    return msgspec.structs.replace(delivery, artifacts=_with(delivery.artifacts, branch))


def _with(artifacts: tuple[Artifact, ...], branch: Artifact | None) -> tuple[Artifact, ...]:
    """Return the artifacts with the branch, unless it is named there already."""
    known = branch is None or any((each.kind, each.value) == (branch.kind, branch.value) for each in artifacts)
    return artifacts if known or branch is None else (*artifacts, branch)


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a process gets of the runner's environment: no credential and no name of the agent's."""
    return {name: value for name, value in environ.items() if not name.startswith(NOT_FOR_CHILDREN)}


def _plain(text: str) -> str:
    """Return lines that may be shown on a terminal: what a client prints may come from whoever wrote its item."""
    return "\n".join(one_line(line, LINE_CHARACTERS) for line in text.splitlines())


def _end(text: str) -> str:
    return "\n".join(text.splitlines()[-SHOWN_LINES:])[-SHOWN_CHARACTERS:]
