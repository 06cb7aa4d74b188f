"""Who takes part in the demo and what is to be done: three agents, and the items that the boss and they offer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loominal.local.demo.tasks import Request
from loominal.model.grant import CORPORATE

PROJECT = "demo"
BOSS = "boss"
LATE = "late"
CHANNEL = "general"
TIMINGS_SCALE = 0.25  # a killed agent's work is offered again after 2.5 s, not 10; the demo fits in half a minute
STEP_SECONDS = 0.15  # of the long item, per file
MOST_AT_ONCE = 1  # agents of one target
IDLE_SECONDS = 120.0  # longer than the story: its agents are to be there for all of it
OVER_SECONDS = 0.2  # and at its end, when nothing more will come
HALF_WAY = 40.0  # per cent of the long item, at which its agent is killed


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, and the target that starts it: what it is, whom it asks, and which item it offers to the others."""

    handle: str
    agent_type: str
    capabilities: tuple[str, ...]
    boundaries: tuple[str, ...]
    asks: str
    offers: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work; `path` is below the copy of this package that the demo works on."""

    name: str
    task: str
    path: str
    capability: str
    boundary: str = "open-source"
    priority: int = 5
    after: tuple[str, ...] = ()
    max_attempts: int = 3
    preferred_agent_type: str | None = None

    def request(self, sources: Path, rounds: int = 0) -> Request:
        """Return the item's context data."""
        return Request(task=self.task, path=str(sources / self.path), rounds=rounds)


CAST = {
    part.handle: part
    for part in (
        Part(
            handle="ada",
            agent_type="claude-code",
            capabilities=("python", "lint", "count", "stretch"),
            boundaries=("personal", "open-source"),
            asks="bruno",
            offers="hash-warp",
        ),
        Part(
            handle="bruno",
            agent_type="copilot-cli",
            capabilities=("hash", "lint", "test", "audit"),
            boundaries=("corporate-adjacent", "open-source"),
            asks="cleo",
            offers="compile-shuttle",
        ),
        Part(
            handle="cleo",
            agent_type="codex",
            capabilities=("count", "hash", "stretch"),
            boundaries=("open-source",),
            asks="ada",
        ),
    )
}

BROKEN, URGENT, MERGED, SECRET, LONG = (
    "compile-broken",
    "lint-broker",
    "merge-findings",
    "audit-package",
    "stretch-broker",
)
VICTIM = "cleo"  # the long item prefers its agent type
GRANTED = "bruno"  # its agent type is granted `corporate`
REFUSED = "ada"  # hers is not
BROKEN_FILE = "broken.txt"
BROKEN_TEXT = "def half(:\n    return\n"

FIRST = (
    Item(name="count-model", task="count", path="model", capability="count"),
    Item(name="count-local", task="count", path="local", capability="count", boundary="personal"),
    Item(name="count-fabric", task="count", path="fabric", capability="count"),
    Item(name="hash-model", task="hash", path="model", capability="hash"),
    Item(name="hash-package", task="hash", path=".", capability="hash"),
    Item(name="compile-hub", task="compile", path="fabric/hub", capability="python"),
    Item(name="imports-package", task="imports", path=".", capability="python"),
    Item(name="markers-package", task="markers", path=".", capability="python"),
    Item(name="lint-model", task="lint", path="model", capability="lint"),
    Item(name="lint-fabric", task="lint", path="fabric", capability="lint"),
    Item(name="test-model", task="test", path="local/demo/selftest.py", capability="test"),
    Item(name=MERGED, task="merge", path="model", capability="count", after=("count-fabric", "hash-package")),
    Item(name=BROKEN, task="compile", path=BROKEN_FILE, capability="python"),
    Item(name=SECRET, task="audit", path=".", capability="audit", boundary=CORPORATE),
    Item(name=URGENT, task="lint", path="broker", capability="lint", priority=10),
)
OFFERED = {
    item.name: item
    for item in (
        Item(name="hash-warp", task="hash", path="warp", capability="hash"),
        Item(name="compile-shuttle", task="compile", path="shuttle", capability="python"),
    )
}
LAST = Item(name=LONG, task="stretch", path="broker", capability="stretch", preferred_agent_type="codex")
ITEMS = {item.name: item for item in (*FIRST, *OFFERED.values(), LAST)}
