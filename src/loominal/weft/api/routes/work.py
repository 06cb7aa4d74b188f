"""Work by HTTP: submitting, looking, calling off."""

from __future__ import annotations

from typing import Annotated

from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.operations.work import (
    BroadcastWorkOffer,
    CancelWork,
    Explained,
    ExplainWork,
    GetWork,
    HistoryEntry,
    ListWork,
    Offered,
    WorkDetail,
    WorkField,
    WorkPage,
)
from loominal.model.errors import InvalidArgument
from loominal.model.work import Status
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.problems import SPEC
from loominal.weft.api.routes.interface import Cursor, Limit, does, makes, reads


class SubmitWork(BroadcastWorkOffer, frozen=True, kw_only=True):
    """Offer an item to whoever can do it. `capability` is the same as `requiredCapability`."""

    capability: str | None = None
    project_id: str | None = None


class RouteView(View, frozen=True, kw_only=True):
    """Whose work it is by the policy; no agent types: any type may take it."""

    boundary: str
    agent_types: tuple[str, ...]


class Submitted(View, frozen=True, kw_only=True):
    """The item, and who could take it. A bearer token has no inbox: `notify` has no effect."""

    id: str
    task_id: str
    status: Status
    duplicate: bool
    eligible: int
    note: str | None = None
    spin_up_triggered: bool = False
    route: RouteView


class Reason(Arguments, frozen=True, kw_only=True):
    """Why, in words for people."""

    reason: str = ""


class History(View, frozen=True, kw_only=True):
    """Every move of an item that is known, oldest first."""

    history: tuple[HistoryEntry, ...]


EXISTS = ResponseSpec(Submitted, description="The same task id and content exists.", generate_examples=False)


@makes("/work", responses=SPEC | {200: EXISTS})
async def submit_work(asker: Asker, data: SubmitWork) -> Answer[Submitted]:
    """Offer an item. 201 if it is new; 200 if the same task id and content exists."""
    if data.capability is not None and data.required_capability not in (None, data.capability):
        raise InvalidArgument("capability and requiredCapability name two", "capabilities takes several")
    fields = {name: getattr(data, name) for name in BroadcastWorkOffer.__struct_fields__}
    offer = BroadcastWorkOffer(**fields | {"required_capability": data.capability or data.required_capability})
    offered = await asker.elsewhere(data.project_id).view("broadcast_work_offer", offer, Offered)
    submitted = Submitted(
        id=offered.id,
        task_id=offered.task_id,
        status=offered.status,
        duplicate=offered.duplicate,
        eligible=offered.eligible,
        note=offered.note,
        spin_up_triggered=bool(offered.spin_up_triggered),
        route=RouteView(boundary=offer.boundary, agent_types=offered.agent_types or ()),
    )
    return Answer(submitted, status_code=200 if offered.duplicate else 201)


@reads("/work")
async def list_work(
    asker: Asker,
    status: Status | None = None,
    capability: str | None = None,
    boundary: str | None = None,
    agent: Annotated[str | None, Parameter(description="Guid or handle of who offered or holds it.")] = None,
    min_priority: Annotated[int | None, Parameter(query="minPriority", ge=1, le=10)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Answer[WorkPage]:
    """Return a page of items, newest submission first."""
    wanted = ListWork(
        status=status,
        capability=capability,
        boundary=boundary,
        agent=agent,
        min_priority=min_priority,
        limit=limit,
        cursor=cursor,
    )
    return await asker.answer("list_work", wanted)


@reads("/work/{work_id:str}")
async def get_work(
    asker: Asker,
    work_id: str,
    wait_seconds: Annotated[float, Parameter(query="waitSeconds", ge=0, le=20)] = 0.0,
    field: WorkField | None = None,
    offset: Annotated[int, Parameter(ge=0)] = 0,
) -> Answer[WorkDetail]:
    """Return one item, named by its id or task id, once it has ended or `waitSeconds` are over."""
    wanted = GetWork(work_id=work_id, wait_seconds=wait_seconds, field=field, offset=offset)
    return await asker.answer("get_work", wanted, hold_seconds=wait_seconds)


@reads("/work/{work_id:str}/history")
async def get_history(asker: Asker, work_id: str) -> Answer[History]:
    """Return every move of an item that is known, oldest first."""
    item = await asker.view("get_work", GetWork(work_id=work_id), WorkDetail)
    return Answer(History(history=item.history))


@reads("/work/{work_id:str}/explain")
async def explain_work(asker: Asker, work_id: str) -> Answer[Explained]:
    """Return for each agent and target the first rule that keeps it from an item."""
    return await asker.answer("explain_work", ExplainWork(work_id=work_id))


@does("/work/{work_id:str}/cancel")
async def cancel_work(asker: Asker, work_id: str, data: Reason = Reason()) -> Answer[WorkDetail]:
    """Call an item off and return it; who holds it is asked first. 409 if it has ended."""
    await asker.ask("cancel_work", CancelWork(work_id=work_id, reason=data.reason))
    return await asker.answer("get_work", GetWork(work_id=work_id))


WORK = (submit_work, list_work, get_work, get_history, explain_work, cancel_work)
