"""Who a process is: an agent id and its key, kept in a slot of the user's state directory and locked while in use.

`<home>/agents/<project>/<client>/<n>/` holds `id`, `lock`, `handle` and, once it has enrolled, `seed`. The same number
of processes finds the same slots again after a restart. The client takes one for every agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.secret_file import create_secret, read_secret, replace_secret
from loominal.model.errors import Busy, InvalidArgument
from loominal.model.names import handle_like, shown, subject_token

NAMED = (
    "_named"  # beside the clients' folders (none is called so): slots whose id was given, each in a folder of that name
)


class Slot:
    """An agent id that is this process's until `release`; leaving a `with` block releases it, and so does dying."""

    def __init__(self, folder: Path, agent_id: str, lock: int) -> None:
        self.folder = folder
        self.id = agent_id
        self._lock = lock
        self._owner = os.getpid()

    @property
    def handle(self) -> str:
        """The handle the agent last had, "" if it never had one."""
        return _text(self.folder / "handle")

    def remember_handle(self, handle: str) -> None:
        """Keep the handle, by which a later process may ask for this slot."""
        if handle != self.handle:
            replace_secret(self.folder / "handle", handle)

    def key(self) -> KeyPair:
        """Return the agent's key, made at the first call. Raises: InvalidArgument if its file is damaged."""
        path = self.folder / "seed"
        seed = read_secret(path)
        if seed is None:
            create_secret(path, KeyPair.generate(Kind.USER).seed)
            seed = read_secret(path) or ""
        return KeyPair.from_seed(seed.strip())

    def release(self) -> None:
        """Let another process take the slot. In a forked child nothing happens: the slot is its parent's."""
        lock, self._lock = self._lock, -1
        if lock >= 0 and os.getpid() == self._owner:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also for what a forked child still holds open
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def take_slot(home: Path, project: str, client: str, *, handle: str = "", agent_id: str = "") -> Slot:
    """Return a slot of `project` and `client` that no live process has, a new one if need be.

    With `handle` the free slot of that handle, else one that never had a handle; without, the lowest free one. With
    `agent_id` (a UUID) that agent's slot and no other. Raises: Busy if that one is in use, InvalidArgument if the
    directory cannot be used.
    """
    agents = home / "agents" / subject_token(project, "project")
    try:
        if agent_id:
            return _take_named(agents, _uuid(agent_id))
        return _take_any(agents / handle_like(client), handle)
    except OSError as error:
        raise InvalidArgument(
            f"cannot keep agents in {agents}: {error}", "check LOOMINAL_HOME and its owner"
        ) from error


def _take_any(folder: Path, handle: str) -> Slot:
    slots = [slot for slot in _numbered(folder) if not handle or _text(slot / "handle") in (handle, "")]
    slots.sort(key=lambda slot: _text(slot / "handle") != handle)  # stable: the lowest number first
    for slot in slots:
        if taken := _take(slot):
            return taken
    for number in itertools.count(1):  # a number that another starter has just made is simply not ours
        if made := _make(folder / str(number), str(uuid.uuid4())):
            return made
    raise AssertionError("count never ends")


def _take_named(agents: Path, agent_id: str) -> Slot:
    known = [slot for client in _folders(agents) for slot in _folders(client) if _text(slot / "id") == agent_id]
    place = known[0] if known else agents / NAMED / agent_id
    if taken := _make(place, agent_id) or _take(place):
        return taken
    raise Busy(f"agent {agent_id} is in use by another process", "end that one, or start without LOOMINAL_AGENT_ID")


def _take(folder: Path) -> Slot | None:
    """Return the slot in `folder`, or None if a live process has it or its id is damaged."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # the folder is gone
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            slot = Slot(folder, _uuid(_text(folder / "id")), lock)
        except (BlockingIOError, InvalidArgument):
            return None
        undo.pop_all()
        return slot


def _make(folder: Path, agent_id: str) -> Slot | None:
    """Return a new slot, or None if `folder` exists. It appears all at once and locked, so nobody can come between."""
    if folder.exists():
        return None
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        replace_secret(draft / "id", agent_id)
        slot = _take(draft)
        if slot is None:
            return None
        try:
            draft.rename(folder)  # fails if another starter has made it, for it is not empty
        except OSError:
            slot.release()
            if folder.exists():
                return None
            raise
        slot.folder = folder
        return slot
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in _folders(folder) if path.name.isdecimal()), key=lambda path: int(path.name))


def _folders(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))  # no drafts


def _text(file: Path) -> str:
    return (read_secret(file) or "").strip()


def _uuid(text: str) -> str:
    """Return `text` as a UUID is written. Raises: InvalidArgument."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise InvalidArgument(f"agent id {shown(text)} is no UUID") from error
