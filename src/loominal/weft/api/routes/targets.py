"""Targets and spin-ups by HTTP."""

from __future__ import annotations

from litestar import status_codes

from loominal.fabric.operations.spin_ups import GetSpinUp, ListSpinUps, SpinUp, SpinUpList, SpinUpView
from loominal.fabric.operations.targets import (
    AddTarget,
    DisableTarget,
    EnableTarget,
    GetTarget,
    HealthView,
    ListTargets,
    RemoveTarget,
    TargetList,
    TargetView,
    TestTarget,
    UpdateTarget,
)
from loominal.model.launch import LaunchStatus
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import (
    ETAG,
    Cursor,
    IfMatch,
    Limit,
    does,
    makes,
    reads,
    removes,
    sets,
    tagged,
    version_of,
)

TEST_SECONDS = 30.0  # that a target's mechanism may take to say whether it could start an agent


@reads("/targets")
async def list_targets(asker: Asker) -> Answer[TargetList]:
    """Return every target, by name."""
    return await asker.answer("list_targets", ListTargets())


@makes("/targets")
async def add_target(asker: Asker, data: AddTarget) -> Answer[TargetView]:
    """Say where agents can be started, and how. 409 if the name is taken."""
    return await asker.answer("add_target", data)


@reads("/targets/{target:str}", response_headers=[ETAG])
async def get_target(asker: Asker, target: str) -> Answer[TargetView]:
    """Return one target, named by id or name."""
    view = await asker.view("get_target", GetTarget(target=target), TargetView)
    return Answer(view, headers=tagged(view.version))


@sets("/targets/{target:str}", response_headers=[ETAG])
async def replace_target(asker: Asker, target: str, data: AddTarget, if_match: IfMatch = None) -> Answer[TargetView]:
    """Replace a target; what is left out gets its default. 412 if it is not the one that If-Match names."""
    fields = {name: getattr(data, name) for name in AddTarget.__struct_fields__}
    wanted = UpdateTarget(target=target, version=version_of(if_match), **fields)
    view = await asker.view("update_target", wanted, TargetView)
    return Answer(view, headers=tagged(view.version))


@removes("/targets/{target:str}")
async def remove_target(asker: Asker, target: str) -> Answer[TargetView]:
    """Forget a target; agents that it has started go on until they are idle."""
    return await asker.answer("remove_target", RemoveTarget(target=target))


@does("/targets/{target:str}/test")
async def test_target(asker: Asker, target: str) -> Answer[HealthView]:
    """Ask the target's mechanism whether an agent could be started there."""
    return await asker.answer("test_target", TestTarget(target=target), hold_seconds=TEST_SECONDS)


@makes("/targets/{target:str}/spin-up", status_code=status_codes.HTTP_202_ACCEPTED)
async def spin_up(asker: Asker, target: str) -> Answer[SpinUpView]:
    """Start one agent there now. 409 if the target is disabled or at its maximum."""
    return await asker.answer("spin_up", SpinUp(target=target))


@does("/targets/{target:str}/enable")
async def enable_target(asker: Asker, target: str) -> Answer[TargetView]:
    """Let agents be started there again."""
    return await asker.answer("enable_target", EnableTarget(target=target))


@does("/targets/{target:str}/disable")
async def disable_target(asker: Asker, target: str) -> Answer[TargetView]:
    """Start no more agents there; those that were started go on."""
    return await asker.answer("disable_target", DisableTarget(target=target))


@reads("/spin-ups")
async def list_spin_ups(
    asker: Asker,
    target: str | None = None,
    status: LaunchStatus | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Answer[SpinUpList]:
    """Return a page of launches, the newest first, and why none is started for work that waits."""
    wanted = ListSpinUps(target=target, status=status, limit=limit, cursor=cursor)
    return await asker.answer("list_spin_ups", wanted)


@reads("/spin-ups/{launch_id:str}")
async def get_spin_up(asker: Asker, launch_id: str) -> Answer[SpinUpView]:
    """Return one launch, with the end of what a failed start printed."""
    return await asker.answer("get_spin_up", GetSpinUp(id=launch_id))


TARGETS = (
    list_targets,
    add_target,
    get_target,
    replace_target,
    remove_target,
    test_target,
    spin_up,
    enable_target,
    disable_target,
    list_spin_ups,
    get_spin_up,
)
