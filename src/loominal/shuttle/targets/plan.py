"""What has to be done so that targets are as somebody wants them: looked at first, done target by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from loominal.model.errors import BoundaryRefused, Duplicate
from loominal.model.names import shown
from loominal.shuttle.documents import Document, differences
from loominal.shuttle.targets.documents import Wanted, is_secret, kept, present

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.fabric.operations.targets import TargetView


class Step(NamedTuple):
    """One target: how it is to be, as a document, and how it is now, if it is there at all."""

    document: Document
    enabled: bool
    before: TargetView | None

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.document["name"])

    @property
    def changes(self) -> list[str]:
        """What changes of a target that is there, a line each."""
        if self.before is None:
            return []
        now, then = present(self.before), self.document
        return differences(now | {"enabled": self.before.enabled}, then | {"enabled": self.enabled}, is_secret)

    @property
    def deed(self) -> str:
        """What becomes of it: created, updated or unchanged."""
        return "created" if self.before is None else "updated" if self.changes else "unchanged"


async def plan(agent: Agent, wanted: Sequence[Wanted], *, update: bool) -> list[Step]:
    """Return what has to be done. Raises: BoundaryRefused, and without `update` Duplicate for one that is there."""
    there = {each.name: each for each in (await agent.list_targets()).targets}
    taken = [each.name for each in wanted if each.name in there]
    if taken and not update:
        named = ", ".join(taken)
        raise Duplicate(f"there is a target {named} already", "`shuttle targets update` changes it; nothing was sent")
    await check_boundaries(agent, [each.document for each in wanted])
    return [_step(each, there) for each in wanted]


async def check_boundaries(agent: Agent, documents: Sequence[Document]) -> None:
    """Raise BoundaryRefused if one names a boundary that the project's policy does not have."""
    known = (await agent.get_policy()).boundaries
    for document in documents:
        for each in document["boundaries"]:
            if each not in known:
                raise BoundaryRefused(
                    f"{document['name']}: this project has no boundary {shown(each)}; nothing was sent",
                    f"its boundaries: {', '.join(known)}; `shuttle policy set --boundary NAME` makes one",
                )


async def done(agent: Agent, step: Step) -> TargetView:
    """Do what is to be done about one target, and return it."""
    view = step.before
    if view is None:
        view = await agent.add_target(**fields(step.document), enabled=step.enabled)
    elif present(view) != step.document:
        view = await agent.update_target(view.id, **fields(step.document), enabled=step.enabled, version=view.version)
    elif view.enabled is not step.enabled:
        view = await (agent.enable_target if step.enabled else agent.disable_target)(view.id)
    return view


def fields(document: Mapping[str, object]) -> dict[str, Any]:  # Any: the client's methods check it
    """Return a document, or a part of one, as arguments of the client's methods."""
    from loominal.fabric.operations.targets import AddTarget

    names = dict(zip(AddTarget.__struct_encode_fields__, AddTarget.__struct_fields__, strict=True))
    return {names[key]: value for key, value in document.items()}


def _step(wanted: Wanted, there: Mapping[str, TargetView]) -> Step:
    before = there.get(wanted.name)
    if before is None:
        return Step(wanted.document, wanted.enabled is not False, None)
    enabled = before.enabled if wanted.enabled is None else wanted.enabled
    return Step(kept(wanted.document, before), enabled, before)
