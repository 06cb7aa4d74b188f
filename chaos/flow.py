"""Whether work flows again: after a fault a new agent comes, offers an item, claims it and completes it."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

import loominal
from chaos.items import Does
from chaos.notes import Notebook, What
from chaos.place import Place
from loominal.fabric.client.agent import Agent
from loominal.model.errors import LoominalError
from loominal.model.work import Notify, Status

FLOW_SECONDS = 15.0  # a leader is replaced after 2.5 s, what died serves 1 to 2 s later; the rest is reserve
BUSY_LOAD = 2.0  # for each core; where more waits to run, everything takes longer in proportion
PAUSE_SECONDS = 0.1  # after an error
POLL_SECONDS = 5.0
PROBE = "probe"


def busy() -> float:
    """Return how many times longer things may take because of what else runs on this machine; 1 if that is little."""
    return max(os.getloadavg()[0] / (os.cpu_count() or 1) / BUSY_LOAD, 1)


class Flow:
    """The probes of one run: how long each took, and which came to nothing."""

    def __init__(self, place: Place) -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._place = place
        self._probes = 0

    @property
    def record(self) -> Path:
        """Where the probes write down what they do."""
        return self._place.probe_home / "record.jsonl"

    async def flows_again(self, why: str) -> None:
        """Return when an item that is offered now is done; longer than the limit is a failure."""
        self._probes += 1
        notebook = Notebook(self.record, len(self._place.crews), self._probes)
        notebook.write(What.BEGUN)
        limit_seconds = FLOW_SECONDS * busy()
        began, trouble = time.monotonic(), "nothing was answered"
        try:
            async with asyncio.timeout(limit_seconds):
                while True:
                    try:
                        await self._probe(notebook)
                        break
                    except LoominalError as error:
                        trouble = str(error)
                        await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            self.failures.append(f"no work flowed for {limit_seconds:.0f} s after {why}: {trouble}")
        else:
            self.seconds.append(time.monotonic() - began)

    async def _probe(self, notebook: Notebook) -> None:
        async with loominal.connect(
            PROBE,
            PROBE,
            [PROBE],
            project=self._place.project,
            home=self._place.probe_home,
            timeout_seconds=FLOW_SECONDS,
        ) as agent:
            item = await self._offer(agent, notebook)
            while (await agent.get_work(item)).status is not Status.DONE:
                for view in (await agent.claim_work(wait_seconds=POLL_SECONDS)).work:
                    notebook.write(What.CLAIMED, agent.guid, id=view.id, token=view.lease_token)
                    end = {"id": view.id, "token": view.lease_token, "verb": "complete"}
                    notebook.write(What.ENDING, agent.guid, **end)
                    moved = await agent.complete_work(view.id, PROBE)
                    notebook.write(What.ENDED, agent.guid, status=str(moved.status), **end)

    async def _offer(self, agent: Agent, notebook: Notebook) -> str:
        task = f"{PROBE}-{self._probes}"
        notebook.write(What.OFFERING, agent.guid, task=task)
        offered = await agent.broadcast_work_offer(
            PROBE,
            task_id=task,
            required_capability=PROBE,
            priority=10,
            max_attempts=10,
            context_data={"does": Does.DONE, "seconds": 0},
            notify=Notify.NONE,
        )
        notebook.write(What.OFFERED, agent.guid, task=task, id=offered.id, status=str(offered.status))
        return offered.id

    def __str__(self) -> str:
        if not self.seconds:
            return "no fault of a weft or broker"
        return (
            f"work flowed again after {len(self.seconds)} faults of wefts and broker: "
            f"median {statistics.median(self.seconds):.1f} s, at most {max(self.seconds):.1f} s"
        )
