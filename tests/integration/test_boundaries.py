"""What a boundary keeps from whom."""

from __future__ import annotations

import pytest

from loominal.model.errors import NotFound
from tests.integration.fabric import Fabric


async def test_corporate_work_is_not_even_read_by_an_agent_without_the_grant(fabric: Fabric, project_id: str) -> None:
    async with (
        fabric.connect("boss", project=project_id, agent_type="person", operator=True, client="boss") as boss,
        fabric.connect("guest", project=project_id, capabilities=["python"]) as guest,
        fabric.connect("peer", project=project_id, capabilities=["python"]) as peer,
    ):
        secret = await guest.broadcast_work_offer("the merger", boundary="corporate", capabilities=["python"])

        with pytest.raises(NotFound):
            await peer.get_work(secret.id)
        assert (await peer.list_work()).total == 0
        assert (await guest.get_work(secret.id)).description == "the merger"
        assert (await boss.list_work()).total == 1

        await boss.grant_access(boundaries=["corporate"], agent_types=["copilot-cli"])
        with pytest.raises(NotFound):
            await peer.get_work(secret.id)
        await boss.grant_access(boundaries=["corporate"], agent_types=["python"])
        assert (await peer.get_work(secret.id)).description == "the merger"
