"""How an operation's answer becomes a tool's: a few lines of text, and a structure; either suffices alone."""

from __future__ import annotations

import msgspec

from loominal.fabric.operations.channels import History
from loominal.fabric.operations.dead_letters import DeadLetters
from loominal.fabric.operations.identity import Joined
from loominal.fabric.operations.inbox import NOTICE, Inbox
from loominal.fabric.operations.registry import AgentView, Discovered
from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import Claimed, WorkDetail, WorkPage
from loominal.fabric.protocol import encode, plain
from loominal.model.errors import LoominalError
from loominal.warp.renderers import rendered
from loominal.warp.rpc import Json
from loominal.warp.schema import HIDDEN
from loominal.warp.settings import LIMIT_BYTES
from loominal.warp.text import fitted, one_line

LEAST_BYTES = 500  # of text, whatever the structure takes
SECRETS = tuple(encode(name) for name in HIDDEN)


def answer(view: View, note: str = "") -> Json:
    """Return what `tools/call` answers; `note` is told beside it."""
    structured = plain(view, entry=False)
    if not isinstance(structured, dict):
        raise TypeError(f"{type(view).__name__} is no object")
    if holds_peers_text(view) and not _says_so(view):
        structured["notice"] = NOTICE
    if note:
        structured["attention"] = note
    data = encode(structured)
    if any(name in data for name in SECRETS):  # most answers hold no claim; looking into each of them costs more
        data = encode(_without_secrets(structured))
    lines = [note, *text_of(view)] if note else text_of(view)
    return content(fitted(lines, max(LIMIT_BYTES - len(data), LEAST_BYTES)), msgspec.Raw(data))


def failure(error: LoominalError) -> Json:
    """Return what `tools/call` answers when a tool could not do what it was asked."""
    problem = error.problem()
    shown = {name: getattr(problem, name) for name in problem.__struct_fields__}
    said = ". ".join(one_line(part).rstrip(".") for part in (problem.message, problem.hint) if part)
    return content(said if said.endswith("?") else said + ".", {"error": shown}, is_error=True)


def content(said: str, structured: Json | msgspec.Raw, *, is_error: bool = False) -> Json:
    """Return a tool's result."""
    return {"content": [{"type": "text", "text": said}], "structuredContent": structured, "isError": is_error}


def text_of(view: View) -> list[str]:
    """Return an answer as lines; of those that hold peers' texts the first says what these are."""
    lines = rendered(view)
    return [f"Indented text is {NOTICE}.", *lines] if holds_peers_text(view) else lines


def holds_peers_text(view: View) -> bool:
    """Return whether texts of others are in an answer."""
    match view:
        case Inbox(messages=found) | History(messages=found) | Claimed(work=found):
            return bool(found)
        case WorkPage(items=found) | DeadLetters(items=found):
            return bool(found)
        case Joined(messages=messages, claims=claims, ready=ready):
            return bool(messages or claims or ready)
        case WorkDetail():
            return True
        case AgentView(metadata=metadata):
            return bool(metadata)
        case Discovered(agents=agents):
            return any(agent.metadata for agent in agents)
    return False


def _says_so(view: View) -> bool:
    return isinstance(view, Inbox) or (isinstance(view, Joined) and NOTICE in view.note)


def _without_secrets(value: object) -> object:
    match value:
        case dict():
            return {name: _without_secrets(each) for name, each in value.items() if name not in HIDDEN}
        case list():
            return [_without_secrets(each) for each in value]
    return value
