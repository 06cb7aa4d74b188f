"""The resources of Warp: the inbox, which says who has written and carries no text, and work items."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from loominal.fabric.operations.events import EventKind
from loominal.fabric.operations.inbox import NOTICE
from loominal.fabric.protocol import encode, plain
from loominal.model.errors import LoominalError, NotFound
from loominal.warp.attention import ending
from loominal.warp.era import is_modern
from loominal.warp.rpc import INTERNAL_ERROR, INVALID_PARAMS, Call, Json, RpcError
from loominal.warp.schema import HIDDEN
from loominal.warp.settings import LIMIT_BYTES

if TYPE_CHECKING:
    from loominal.warp.link import Someone

INBOX = "loominal://inbox"
WORK = "loominal://work/"
NO_RESOURCE = -32002  # of the handshake era; the modern one calls it a wrong parameter
JSON_TYPE = "application/json"

RESOURCES: tuple[Json, ...] = (
    {
        "uri": INBOX,
        "name": "inbox",
        "title": "Inbox",
        "description": "Who has written to you; read_direct_messages shows the texts",
        "mimeType": JSON_TYPE,
    },
)
TEMPLATES: tuple[Json, ...] = (
    {
        "uriTemplate": WORK + "{id}",
        "name": "work",
        "title": "Work item",
        "description": "Where an item stands, its result and history",
        "mimeType": JSON_TYPE,
    },
)

# Any: what a coroutine is sent
Connect: TypeAlias = "Callable[[], Coroutine[Any, Any, Someone]]"


def is_known(uri: str) -> bool:
    """Return whether `uri` may be read and subscribed to."""
    return uri == INBOX or (uri.startswith(WORK) and len(uri) > len(WORK))


async def read(call: Call, connect: Connect) -> Json:
    """Return the contents of a resource. Raises: RpcError if there is no such one, or the fabric does not answer."""
    uri = call.text("uri")
    missing = INVALID_PARAMS if is_modern(call) else NO_RESOURCE
    if not is_known(uri):
        raise RpcError(missing, f"there is no resource {uri!r}", {"uri": uri})
    try:
        agent = await connect()
        found = await inbox(agent) if uri == INBOX else await work(agent, uri.removeprefix(WORK))
    except NotFound as error:
        raise RpcError(missing, f"{error.message}. {error.hint}", {"uri": uri}) from error
    except LoominalError as error:
        data = {"uri": uri, "error": msgspec.to_builtins(error.problem())}
        raise RpcError(INTERNAL_ERROR, f"{error.message}. {error.hint}", data) from error
    return {"contents": [{"uri": uri, "mimeType": JSON_TYPE, "text": encode(found).decode()}]}


async def inbox(agent: Someone) -> Json:
    """Return what waits in the inbox, without touching it."""
    waiting = await agent.wait_for_events(kinds=[EventKind.MESSAGE], wait_seconds=0)
    told = ending(agent)
    return {
        "unread": waiting.unread,
        "waiting": plain(waiting.events, entry=True),
        "hint": "read_direct_messages shows the texts",
        **({"attention": told} if told else {}),
    }


async def work(agent: Someone, work_id: str) -> Json:
    """Return an item as get_work shows it. Raises: NotFound."""
    from loominal.fabric.operations.work import GetWork

    view = await agent.call("get_work", GetWork(work_id=work_id), limit_bytes=LIMIT_BYTES - 1000)
    found = plain(view, entry=False)
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name not in HIDDEN} | {"notice": NOTICE}
