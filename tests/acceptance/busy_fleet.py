"""Three agents at work and items in every state: what README.md and docs/terminals.md show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from loominal.fabric.client.agent import Agent

SECONDS = 20.0  # that a claim may wait


@asynccontextmanager
async def busy_fleet(entered: Callable[..., AbstractAsyncContextManager[Agent]]) -> AsyncIterator[None]:
    """Yield when everything stands as it is to be shown; `entered` connects an agent to the project."""
    async with AsyncExitStack() as stack:

        async def agent(handle: str, **registration: Any) -> Agent:  # Any: whatever it takes
            return await stack.enter_async_context(entered(handle, **registration))

        ada = await agent(
            "ada", agent_type="claude-code", capabilities=["python", "review"], boundaries=["personal", "open-source"]
        )
        ben = await agent(
            "ben", agent_type="codex", capabilities=["python", "go"], boundaries=["personal"], max_concurrent=2
        )
        await agent("cid", agent_type="copilot-cli", capabilities=["typescript"], boundaries=["open-source"])
        await _go(ada, ben)
        yield


async def _go(ada: Agent, ben: Agent) -> None:
    """Offer the items one by one, so that each goes to whom it is meant for."""
    await ada.broadcast_work_offer("List what the parser does not cover", task_id="parser-1", capabilities=["review"])
    await ada.claim_work(wait_seconds=SECONDS)
    await ada.complete_work("parser-1", summary="three rules are not covered", result={"rules": 3})
    await ada.broadcast_work_offer("Find out why the queue's tests fail", task_id="flaky-7", capabilities=["go"])
    await ben.claim_work(wait_seconds=SECONDS)
    await ben.fail_work("flaky-7", error="the container has no network", retryable=False)
    await ada.broadcast_work_offer(
        "Make the parser accept nested comments", task_id="parser-2", assign_to="ben", priority=8
    )
    await ben.claim_work(wait_seconds=SECONDS)
    await ben.report_progress("parser-2", percent=45, message="9 of 20 tests pass")
    await ada.broadcast_work_offer(
        "Review the change in the parser", task_id="parser-3", capabilities=["review"], depends_on=["parser-2"]
    )
    await ada.broadcast_work_offer(
        "Bring the manual up to date", task_id="docs-4", capabilities=["python"], boundary="open-source", priority=3
    )
    await ada.claim_work(wait_seconds=SECONDS)
    await ada.report_progress("docs-4", percent=40, message="writing docs/tutorial.md")
