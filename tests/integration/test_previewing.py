"""preview_work_offer: what an offer would come to, and nothing is there afterwards."""

from __future__ import annotations

import pytest

from loominal.fabric.operations.work import BroadcastWorkOffer
from loominal.model.errors import BoundaryRefused, InvalidArgument, NotFound
from loominal.model.work import Status
from tests.integration.fabric import Fabric

REFUSED = {
    "a boundary that is not there": ({"boundary": "secret"}, BoundaryRefused),
    "nobody to assign it to": ({"assign_to": "nobody"}, NotFound),
    "nothing to wait for": ({"depends_on": ("w_never",)}, NotFound),
    "a time that is over": ({"deadline": "2020-01-01T00:00:00Z"}, InvalidArgument),
}


async def test_a_preview_says_who_could_take_an_offer_and_leaves_nothing(fabric: Fabric, project_id: str) -> None:
    async with (
        fabric.connect("worker", project=project_id, capabilities=["python"]) as worker,
        fabric.connect(project=project_id, operator=True) as operator,
    ):
        taken = await operator.preview_work_offer(BroadcastWorkOffer(description="look", capabilities=("python",)))
        left = await operator.preview_work_offer(BroadcastWorkOffer(description="look", capabilities=("go",)))

        assert (taken.status, taken.eligible, taken.note) == (Status.READY, 1, None)
        assert (left.eligible, "'go'" in (left.note or "")) == (0, True)
        assert (await worker.list_work()).total == 0


@pytest.mark.parametrize("case", REFUSED)
async def test_a_preview_refuses_what_an_offer_would_be_refused(fabric: Fabric, project_id: str, case: str) -> None:
    fields, error = REFUSED[case]
    async with fabric.connect("boss", project=project_id, capabilities=["boss"]) as boss:
        offer = BroadcastWorkOffer(description="look", **fields)  # type: ignore[arg-type]
        with pytest.raises(error):
            await boss.preview_work_offer(offer)
        with pytest.raises(error):
            await boss.call("broadcast_work_offer", offer)


async def test_a_preview_of_what_must_wait_says_for_what(fabric: Fabric, project_id: str) -> None:
    async with fabric.connect("boss", project=project_id, capabilities=["python"]) as boss:
        first = await boss.broadcast_work_offer("first", capabilities=["go"])
        blocked = await boss.preview_work_offer(BroadcastWorkOffer(description="then", depends_on=(first.id,)))

    assert (blocked.status, blocked.eligible) == (Status.BLOCKED, 1)
