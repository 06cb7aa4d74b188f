"""The targets of a project in memory and in its bucket: `target.<id>`, and `tname.<name>`, which makes names unique.

Memory follows the bucket; what is written here is in memory when the write returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from loominal.broker.bucket import Deleted, Entry
from loominal.model.errors import BrokerUnavailable, Conflict, Duplicate, Forbidden, IllegalMove, NotFound
from loominal.model.names import shown
from loominal.model.record import Stored, decode, encode
from loominal.model.target import Health, Target

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project

TARGET, NAME = "target", "tname"  # the kinds of keys in the bucket that are read here
TRIES = 8
OPS_KEPT = 8

Change = Callable[[Target], Target]


class NameRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whose name it is."""

    v: int = 1
    target: str


class Targets:
    """Every target of one project, and what is soft about them: their health."""

    def __init__(self, filed: Iterable[Target] = ()) -> None:
        self._filed = {each.id: each for each in filed}  # those of weft's own file, which nobody else changes
        self.naming = asyncio.Lock()  # held from the taking of a name until its target is stored
        self.health: dict[str, Health] = {}  # by target id, what the last look found
        self._stored: dict[str, Stored[Target]] = {}
        self._names: dict[str, str] = {}
        self._revisions: dict[str, int] = {}  # by key, also of what was deleted or cannot be read

    def clear(self) -> None:
        """Forget everything: the bucket was replaced."""
        for memory in (self.health, self._stored, self._names, self._revisions):
            memory.clear()

    def __len__(self) -> int:
        return len(self._stored) + len(self._filed)

    def all(self) -> list[Target]:
        """Return every target, by name."""
        found = {each.name: each for each in self._filed.values()}
        found.update({stored.value.name: stored.value for stored in self._stored.values()})
        return [each for _, each in sorted(found.items())]

    def get(self, target_id: str) -> Target | None:
        """Return a target by its id."""
        stored = self._stored.get(target_id)
        return stored.value if stored else self._filed.get(target_id)

    def stored(self, target_id: str) -> Stored[Target] | None:
        """Return a target with its fields of a later version."""
        return self._stored.get(target_id)

    def find(self, text: str) -> Target:
        """Return the target that `text`, an id or a name, names. Raises: NotFound."""
        found = self.get(text) or self.holder(text)
        if found is None:
            raise NotFound(f"there is no target {shown(text)}", "list_targets shows them")
        return found

    def holder(self, name: str) -> Target | None:
        """Return the target that is called `name`; a key whose target is gone or has another name binds nobody."""
        found = self.get(self._names.get(name, ""))
        if found is not None and found.name == name:
            return found
        return next((each for each in self._filed.values() if each.name == name), None)

    def revision(self, key: str) -> int:
        """Return the revision of a key, 0 if there is none."""
        kind, _, name = key.partition(".")
        return self._revisions.get(key, 0) if name in self._memory(kind) else 0

    def forget(self, key: str) -> None:
        """Forget a key that the bucket does not have."""
        kind, _, name = key.partition(".")
        self._memory(kind).pop(name, None)

    def apply(self, change: Entry | Deleted) -> None:
        """Take a change of a key into memory; one that is not newer changes nothing. Raises: CorruptRecord."""
        if change.revision <= self._revisions.get(change.key, 0):
            return
        kind, _, name = change.key.partition(".")
        self._revisions[change.key] = change.revision
        self._memory(kind).pop(name, None)
        if isinstance(change, Deleted):
            self.health.pop(name, None)
        elif kind == TARGET:
            self._stored[name] = decode(Target, change.value)
        else:
            self._names[name] = decode(NameRecord, change.value).value.target

    def _memory(self, kind: str) -> dict[str, Stored[Target]] | dict[str, str]:
        return self._stored if kind == TARGET else self._names


def target_key(target_id: str) -> str:
    """Return the key of a target's record."""
    return f"{TARGET}.{target_id}"


async def add(project: Project, target: Target) -> Target:
    """Store a new target and return it; the same again, by its id, is the one that is there.

    Raises: Duplicate if its name is taken, BrokerUnavailable (it may be stored all the same).
    """
    async with project.targets.naming:
        if (known := project.targets.get(target.id)) is not None:
            return known
        await _take_name(project, target.name, target.id)
        await _write(project, target_key(target.id), encode(target), 0)
        return project.targets.get(target.id) or target


async def change(project: Project, target_id: str, op: str, make: Change, version: int | None = None) -> Target:
    """Change a target as `make` says; the same op again changes nothing.

    Raises: NotFound, Duplicate, IllegalMove if it is not at the `version` that is given, as `make`.
    """
    async with project.targets.naming:
        for _ in range(TRIES):
            stored = project.targets.stored(target_id)
            if stored is None and project.targets.get(target_id) is not None:
                raise Forbidden(f"target {target_id} stands in weft's own file", "its machine's owner changes it there")
            if stored is None:
                raise NotFound(f"target {target_id} was removed", "list_targets shows those that are there")
            if op in stored.value.ops:
                return stored.value
            _check_version(project, stored.value, version)
            try:
                return await _replace(project, stored, op, make)
            except Conflict:
                await _read(project, target_key(target_id))
    raise BrokerUnavailable(f"target {target_id} changes faster than it can be written")


def _check_version(project: Project, target: Target, version: int | None) -> None:
    present = project.targets.revision(target_key(target.id))
    if version not in (None, present):
        raise IllegalMove(
            f"target {target.name} is at version {present}, not {version}",
            "somebody has changed it: get_target, and make your change to that",
        )


async def _replace(project: Project, stored: Stored[Target], op: str, make: Change) -> Target:
    before, key = stored.value, target_key(stored.value.id)
    after = replace(make(before), ops=(*before.ops, op)[-OPS_KEPT:])
    if after.name != before.name:
        await _take_name(project, after.name, after.id)
    await _write(project, key, encode(after, stored.extra), project.targets.revision(key))
    if after.name != before.name:
        await _leave_name(project, before.name)
    return after


async def remove(project: Project, target: Target) -> None:
    """Forget a target. What was started there goes on until it is idle. Raises: Forbidden for weft's own."""
    if project.targets.stored(target.id) is None and project.targets.get(target.id) is not None:
        raise Forbidden(f"target {target.name} stands in weft's own file", "its machine's owner removes it there")
    key = target_key(target.id)
    for _ in range(TRIES):
        revision = project.targets.revision(key)
        if not revision:
            break
        try:
            gone = await project.bucket.delete(key, revision=revision)
        except Conflict:
            await _read(project, key)
            continue
        remember(project, Deleted(key=key, revision=gone))
        break
    await _leave_name(project, target.name)


def remember(project: Project, changed: Entry | Deleted) -> None:
    """Take a change of the bucket into memory. Raises: CorruptRecord."""
    project.targets.apply(changed)


async def _take_name(project: Project, name: str, target_id: str) -> None:
    """Bind `name` to a target. Raises: Duplicate if another one has it."""
    key, value = f"{NAME}.{name}", encode(NameRecord(target=target_id))
    for _ in range(TRIES):
        holder = project.targets.holder(name)
        if holder is not None and holder.id != target_id:
            raise Duplicate(f"target {name!r} exists already", "take another name, or update that one")
        try:
            await _write(project, key, value, project.targets.revision(key))
        except Conflict:
            await _read(project, key)
            continue
        return
    raise BrokerUnavailable(f"the name {name!r} changes faster than it can be written")


async def _leave_name(project: Project, name: str) -> None:
    """Let others have `name`; should that fail, it still binds nobody."""
    key = f"{NAME}.{name}"
    if project.targets.holder(name) is None and (revision := project.targets.revision(key)):
        try:
            gone = await project.bucket.delete(key, revision=revision)
        except Conflict:
            await _read(project, key)
            return
        remember(project, Deleted(key=key, revision=gone))


async def _write(project: Project, key: str, value: bytes, revision: int) -> None:
    written = await project.bucket.write(key, value, revision=revision)
    remember(project, Entry(key=key, value=value, revision=written))


async def _read(project: Project, key: str) -> None:
    entry = await project.bucket.get(key)
    if entry is not None:
        remember(project, entry)
    else:
        project.targets.forget(key)
