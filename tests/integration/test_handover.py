"""The main job: agents as processes hand over work, and what one leaves unfinished another finishes."""

from __future__ import annotations

import pytest

from tests.integration.fabric import Fabric
from tests.patience import SOON


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def test_a_killed_holders_item_is_finished_by_another_and_its_own_end_is_refused(
    fabric: Fabric, project_id: str
) -> None:
    async with fabric.connect("boss", project=project_id, agent_type="python") as boss:
        offered = await boss.broadcast_work_offer("hash this", capabilities=["hash"], context_data={"x": [1, 2]})
        with (
            fabric.spawn("first", project=project_id, capabilities=["hash"]) as first,
            fabric.spawn("second", project=project_id, capabilities=["hash"]) as second,
        ):
            await first.ready()
            await second.ready()
            [work] = (await first.call("claim_work"))["work"]
            assert (work["id"], work["attempt"], work["contextData"]) == (offered.id, 1, {"x": [1, 2]})
            first.freeze()

            [again] = (await second.call("claim_work", wait_seconds=SOON))["work"]
            assert (again["id"], again["attempt"]) == (offered.id, 2)
            first.thaw()
            stale = await first.call("complete_work", work_id=offered.id, summary="late")
            done = await second.call("complete_work", work_id=offered.id, summary="done", result={"sum": 3})

        assert stale["error"]["code"] in ("lease_lost", "not_owner")
        assert done["status"] == "done"
        detail = await boss.get_work(offered.id)
        assert (detail.status, detail.result, detail.summary) == ("done", {"sum": 3}, "done")
        told = await boss.read_direct_messages(wait_seconds=SOON)
        assert [message.message_type for message in told.messages] == ["work-result"]
