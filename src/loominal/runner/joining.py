"""Being the agent that a runner is: connected, registered, and free of what its process before has left."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import open_agent
from loominal.fabric.client.settings import ENROLMENT, ClientSettings
from loominal.model.errors import Forbidden, LoominalError
from loominal.runner.settings import RunnerSettings

KILLED = "the runner that worked on it ended before it was done"

log = logging.getLogger(__name__)


@asynccontextmanager
async def joined(settings: RunnerSettings) -> AsyncIterator[Agent]:
    """Yield the agent, which takes no more items at once than it has slots. Raises: as `loominal.connect`.

    An attempt that died with an earlier process of this agent is counted: what kills runners must not do so for ever.
    """
    client = ClientSettings.from_env(os.environ, client=settings.client.name)
    os.environ.pop(ENROLMENT, None)  # no child sees it
    if client.attach is not None:
        raise Forbidden("a runner is an agent of its own, and LOOMINAL_ATTACH names another", "unset LOOMINAL_ATTACH")
    async with open_agent(msgspec.structs.replace(client, adopts=True)) as agent:
        await agent.register_agent(
            settings.client.name, capabilities=settings.capabilities, boundaries=settings.boundaries,
            handle=client.handle or None, max_concurrent=settings.slots,
        )  # fmt: skip
        for item in agent.holds:
            try:
                await agent.fail_work(item, KILLED)
            except LoominalError as error:
                log.warning("%s, of the process before: %s", item, error.message)
        yield agent


def runs_folder(agent: Agent) -> Path:
    """Return an empty folder for what processes need. It is below the agent's own: Gemini CLI reads nothing in /tmp."""
    folder = agent.folder / "runs"
    shutil.rmtree(folder, ignore_errors=True)  # of a runner that was killed
    folder.mkdir()
    return folder
