"""Live events by HTTP."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from litestar.datastructures import State
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import Parameter, ParameterKwarg

from loominal.model.errors import Forbidden, NotFound
from loominal.model.names import PROJECT_NAME, api_caller, shown
from loominal.weft.api.event_stream import MEDIA_TYPE, EventStream
from loominal.weft.api.problems import AnyRequest
from loominal.weft.api.routes.interface import reads
from loominal.weft.api.tokens import Identity
from loominal.weft.events import query as queries
from loominal.weft.events.cursors import CURSOR_CHARACTERS
from loominal.weft.events.happening import Topic
from loominal.weft.events.query import TYPES
from loominal.weft.events.reader import Reader
from loominal.weft.events.readers import Readers
from loominal.weft.fabric import Fabric

Several = tuple[str, ...]


def _several(words: Collection[str], text: str) -> ParameterKwarg:
    """Return a parameter that may be repeated, each time with some of `words` joined by commas."""
    word = f"({'|'.join(words)})"
    item = Schema(type=OpenAPIType.STRING, pattern=f"^{word}(,{word})*$")
    return ParameterKwarg(description=f"{text}; joined by commas or repeated.", schema_extra={"items": item})


@reads("/events", media_type=MEDIA_TYPE)
async def read_events(
    state: State,
    request: AnyRequest,
    project_id: Annotated[
        Several,
        Parameter(
            query="projectId",
            description="May be repeated; default: all that the bearer token is for.",
            schema_extra={"items": Schema(type=OpenAPIType.STRING, pattern=f"^{PROJECT_NAME.pattern}$")},
        ),
    ] = (),
    topics: Annotated[Several, _several(tuple(Topic), "What to be told of; default: everything")] = (),
    types: Annotated[Several, _several(TYPES, "Events to be told of; default: all of the topics")] = (),
    work_id: Annotated[Several, Parameter(query="workId", description="Items, by id or task id.")] = (),
    agent: Annotated[Several, Parameter(description="Agents, by guid or handle.")] = (),
    capability: Several = (),
    boundary: Several = (),
    cursor: Annotated[
        str | None,
        Parameter(max_length=CURSOR_CHARACTERS, description="The id of an event; `Last-Event-ID` goes before it."),
    ] = None,
    last_event_id: Annotated[str | None, Parameter(header="Last-Event-ID")] = None,
) -> EventStream:
    """Return what happens, as it happens, as server-sent events, until the client goes.

    Each `data` is one JSON object `{type, projectId, at, data}`; for work, `data` is the item as lists show it. `id` is
    a cursor, good at any weft for 23 hours: whoever comes again with it has everything since, once. If it is too old,
    or the project's logs were made anew, the first event is `reset`: read the lists again. `cut` says why it ends.
    What waiting items wait for is told where their project's leader answers. Progress, and that a scheduled item is due
    (`work:ready`), are told as they happen, and not again; `stats` every 5 s.
    """
    wanted = queries.read(
        projects=project_id,
        topics=topics,
        types=types,
        work=work_id,
        agents=agent,
        capabilities=capability,
        boundaries=boundary,
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
