"""Live events by HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar.datastructures import State
from litestar.params import Parameter

from loominal.model.errors import Forbidden, NotFound
from loominal.model.names import api_caller, shown
from loominal.weft.api.event_stream import MEDIA_TYPE, EventStream
from loominal.weft.api.problems import AnyRequest
from loominal.weft.api.routes.interface import reads
from loominal.weft.api.tokens import Identity
from loominal.weft.events import query as queries
from loominal.weft.events.reader import Reader
from loominal.weft.events.readers import Readers
from loominal.weft.fabric import Fabric

Several = list[str] | None


@reads("/events", media_type=MEDIA_TYPE)
async def read_events(
    state: State,
    request: AnyRequest,
    project_id: Annotated[
        Several, Parameter(query="projectId", description="May be repeated; default: all that the bearer token is for.")
    ] = None,
    topics: Annotated[
        Several, Parameter(description="work, agents, targets, launches, stats; joined by commas. Default: all.")
    ] = None,
    types: Annotated[Several, Parameter(description="Types of events, joined by commas: work:completed.")] = None,
    work_id: Annotated[Several, Parameter(query="workId", description="Items, by id or task id.")] = None,
    agent: Annotated[Several, Parameter(description="Agents, by id or handle.")] = None,
    capability: Several = None,
    boundary: Several = None,
    cursor: Annotated[str | None, Parameter(description="The id of an event; `Last-Event-ID` goes before it.")] = None,
    last_event_id: Annotated[str | None, Parameter(header="Last-Event-ID")] = None,
) -> EventStream:
    """Return what happens, as it happens, as server-sent events, until the client goes.

    Each `data` is one JSON object `{type, projectId, at, data}`; for work, `data` is the item as lists show it. `id` is
    a cursor, good at any weft for 23 hours: whoever comes again with it has everything since, once. If it is too old,
    or the project's logs were made anew, the first event is `reset`: read the lists again. `cut` says why it ends.
    What waiting items wait for is told where their project's leader answers. Progress, and that a scheduled item is due
    (`work:ready`), are told as they happen, and not again.
    """
    wanted = queries.read(
        projects=project_id or (),
        topics=topics or (),
        types=types or (),
        work=work_id or (),
        agents=agent or (),
        capabilities=capability or (),
        boundaries=boundary or (),
    )
    fabric: Fabric = state.fabric
    readers: Readers = state.readers
    identity: Identity = request.scope["state"]["identity"]
    for project in wanted.projects:
        await _check(fabric, identity, project, state.home_project)
    readers.check(identity)
    watches = fabric.watches()
    caller = api_caller(identity.role, identity.name)
    reader = Reader(wanted, caller, identity.projects, last_event_id or cursor or "", watches)
    return EventStream(reader, readers, identity, watches)


async def _check(fabric: Fabric, identity: Identity, project: str, home: str) -> None:
    """Raises: Forbidden, NotFound, BrokerUnavailable."""
    mine = identity.projects
    if mine and project not in mine:
        raise Forbidden(f"this bearer token is not for project {shown(project)}", f"it is for {', '.join(mine)}")
    if project not in fabric.titles() and not await fabric.open_project(project, meant=project in (*mine, home)):
        raise NotFound(f"there is no project {shown(project)}", "an agent that joins it makes it")


EVENTS = (read_events,)
