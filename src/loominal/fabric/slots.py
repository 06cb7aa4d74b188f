"""Who a process is: an agent id and its key, kept in a slot of the user's state directory and locked while in use.

`<home>/agents/<project>/<client>/<n>/` holds `id`, `lock`, `handle`, the `session` of the client it is kept for, if the
client tells, the `machine` as which it enrols, if it does, and then `seed`. A session finds its slot again after a
restart; where none is told, the same number of processes finds the same slots. The client takes one for every agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.secret_file import create_secret, read_secret, replace_secret
from loominal.model.errors import Busy, InvalidArgument
from loominal.model.names import handle_like, shown, subject_token

NAMED = "_named"  # beside the clients' folders (none is called so): slots whose id was given, in folders of that name
LAUNCHED = "_launched"  # the same of agents that were launched: nobody asks for these ids again when their time is over
SPARE_SECONDS = 86400.0  # after which a slot that never had a handle, and so neither mail nor claims, is anybody's
LAPSED_SECONDS = 31 * 86400.0  # after which its handle and its mail are gone by the hub's rules, too

log = logging.getLogger(__name__)


class Slot:
    """An agent id that is this process's until `release`; leaving a `with` block releases it, and so does dying."""

    def __init__(self, folder: Path, agent_id: str, lock: int) -> None:
        self.folder = folder
        self.id = agent_id
        self._lock = lock
        self._owner = os.getpid()

    @property
    def machine(self) -> str:
        """The machine as which the agent enrols, "" if it does not."""
        return _text(self.folder / "machine")

    @property
    def handle(self) -> str:
        """The handle the agent last had, "" if it never had one."""
        return _text(self.folder / "handle")

    def remember_handle(self, handle: str) -> None:
        """Keep the handle, by which a later process may ask for this slot; that a full disk cannot is logged."""
        try:
            if handle != self.handle:
                replace_secret(self.folder / "handle", handle)
        except InvalidArgument as error:  # the agent has its handle all the same
            log.warning("the handle %s is not kept for the next process: %s", handle, error.message)

    def enrols_as(self, machine: str) -> None:
        """Keep as which machine the agent enrols, "" for none: its id is that one's then, for ever."""
        if machine and machine != self.machine:
            replace_secret(self.folder / "machine", machine)

    def keep_for(self, session: str) -> None:
        """Keep the slot for a session of the client; "" for none, as one that no client names has it."""
        if session != _text(self.folder / "session"):
            replace_secret(self.folder / "session", session)

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
            with contextlib.suppress(OSError):  # on a disk that can only be read by now
                os.utime(lock)  # idle from now on
            fcntl.flock(lock, fcntl.LOCK_UN)  # also for what a forked child still holds open
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def take_slot(
    home: Path,
    project: str,
    client: str,
    *,
    handle: str = "",
    agent_id: str = "",
    launched: bool = False,
    machine: str = "",
    session: str = "",
    sole: bool = False,
) -> Slot:
    """Return a slot of `project` and `client` that no live process has, a new one if need be.

    The one kept for `session` (as the client names it), else the one that had `handle`; else, without a session, the
    lowest that is kept for none, but not one of another handle; else one that has been idle so long that nothing is
    left of its agent. None of another `machine`, for its id is another's for ever. With `agent_id` (a UUID) that
    agent's slot and no other; with `sole` the first of the client's, which is kept for it alone.
    Raises: Busy if that one is in use, InvalidArgument if the directory cannot be used.
    """
    agents = home / "agents" / subject_token(project, "project")
    try:
        if launched:
            return _take_launched(agents / LAUNCHED, _uuid(agent_id))
        if agent_id:
            return _take_named(agents, _uuid(agent_id))
        if sole:
            return _take_sole(agents / handle_like(client), machine)
        return _take_any(agents / handle_like(client), handle, session, machine)
    except OSError as error:
        raise InvalidArgument(
            f"cannot keep agents in {agents}: {error}", "check LOOMINAL_HOME and its owner"
        ) from error


def known_projects(home: Path) -> list[str]:
    """Return the projects in which this machine's programs are or were agents."""
    return sorted(folder.name for folder in _folders(home / "agents"))


def slots_of(home: Path, project: str, client: str) -> list[Path]:
    """Return the folders of a client's slots, the first first."""
    return _numbered(home / "agents" / subject_token(project, "project") / handle_like(client))


def is_free_slot(home: Path, project: str, client: str, handle: str, *, machine: str = "") -> bool:
    """Return whether there is a slot of `machine` that had `handle` and that no live process has."""
    for folder in _of_machine(home / "agents" / subject_token(project, "project") / handle_like(client), machine):
        if _text(folder / "handle") == handle and (slot := _take(folder)):
            slot.release()
            return True
    return False


def _take_any(folder: Path, handle: str, session: str, machine: str) -> Slot:
    slots = _of_machine(folder, machine)
    ranked = [(rank, slot) for slot in slots if (rank := _rank(slot, handle, session)) is not None]
    for _, slot in sorted(ranked, key=lambda each: each[0]):  # stable: the lowest number first
        if taken := _take(slot):
            return _kept(taken, session)
    for number in itertools.count(1):  # a number that another starter has just made is simply not ours
        if made := _make(folder / str(number), str(uuid.uuid4())):
            return _kept(made, session)
    raise AssertionError("count never ends")


def _take_sole(folder: Path, machine: str) -> Slot:
    """Return the first slot, made if there is none; whoever makes it in this moment has it. Raises: Busy."""
    for slot in _of_machine(folder, machine):
        if taken := _take(slot):
            return taken
        if not _is_damaged(slot):
            raise Busy("this agent is in use by another process", "try again once that one has ended")
    number = next(each for each in itertools.count(1) if not (folder / str(each)).exists())
    return _make(folder / str(number), str(uuid.uuid4())) or _take_sole(folder, machine)


def _kept(slot: Slot, session: str) -> Slot:
    try:
        slot.keep_for(session)
    except InvalidArgument:
        slot.release()
        raise
    return slot


def _rank(slot: Path, handle: str, session: str) -> int | None:
    """Return how well the slot fits, 0 best; None if it is not for who asks."""
    had, kept_for = _text(slot / "handle"), _text(slot / "session")
    if session and kept_for == session:
        return 0
    if handle and had == handle:
        return 1
    if not session and not kept_for and not (handle and had):
        return 2
    idle = _idle_seconds(slot)
    return 3 if idle > LAPSED_SECONDS or (idle > SPARE_SECONDS and not had) else None


def _idle_seconds(slot: Path) -> float:
    """Return for how long the slot has not been taken or released; 0 if that cannot be told."""
    try:
        return time.time() - (slot / "lock").stat().st_mtime
    except OSError:
        return 0.0


def _take_named(agents: Path, agent_id: str) -> Slot:
    known = [slot for client in _folders(agents) for slot in _folders(client) if _text(slot / "id") == agent_id]
    place = known[0] if known else agents / NAMED / agent_id
    if taken := _make(place, agent_id) or _take(place):
        return taken
    if _is_damaged(place):
        raise InvalidArgument(f"the files of agent {agent_id} in {place} are damaged", "start it under another id")
    raise Busy(f"agent {agent_id} is in use by another process", "end that one, or start without LOOMINAL_AGENT_ID")


def _take_launched(launched: Path, agent_id: str) -> Slot:
    """Return the slot of a launched agent; those of launches that ended long ago are removed."""
    for folder in _folders(launched):
        if folder.name != agent_id and _idle_seconds(folder) > SPARE_SECONDS and (old := _take(folder)):
            from shutil import rmtree

            with old:
                rmtree(folder, ignore_errors=True)
    place = launched / agent_id
    if taken := _make(place, agent_id) or _take(place):
        return taken
    raise Busy(f"agent {agent_id}, which was launched once, runs already", "each launch starts one process")


def _take(folder: Path) -> Slot | None:
    """Return the slot in `folder`, or None if a live process has it, it is damaged or cannot be used.

    One that is damaged, or another user's by mistake, keeps nobody from the others.
    """
    if _is_damaged(folder):
        return None
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            slot = Slot(folder, _uuid(_text(folder / "id")), lock)
            os.utime(lock)
        except (OSError, InvalidArgument):
            return None
        undo.pop_all()
        return slot


def _make(folder: Path, agent_id: str) -> Slot | None:
    """Return a new slot, or None if `folder` exists. It appears all at once and locked, so nobody can come between."""
    if folder.exists():
        return None
    from shutil import rmtree  # loads compressors, too, which an agent that comes again need not wait for
    from tempfile import mkdtemp

    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(mkdtemp(dir=folder.parent, prefix=".draft-"))
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
        rmtree(draft, ignore_errors=True)


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in _folders(folder) if path.name.isdecimal()), key=lambda path: int(path.name))


def _of_machine(folder: Path, machine: str) -> list[Path]:
    """Return the slots that may enrol as `machine`, "" for those of any."""
    return [slot for slot in _numbered(folder) if not machine or _text(slot / "machine") in ("", machine)]


def _folders(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))  # no drafts


def _is_damaged(folder: Path) -> bool:
    """Return whether the slot has lost its id or its key, without which the id is nobody's any more."""
    try:
        _uuid(_text(folder / "id"))
        seed = read_secret(folder / "seed")
        if seed is not None:
            KeyPair.from_seed(seed.strip())
    except InvalidArgument:
        return True
    return False


def _text(file: Path) -> str:
    """Return what the file holds, "" if that cannot be read: what is kept there is only ever a convenience."""
    try:
        return (read_secret(file) or "").strip()
    except InvalidArgument:
        return ""


def _uuid(text: str) -> str:
    """Return `text` as a UUID is written. Raises: InvalidArgument."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise InvalidArgument(f"agent id {shown(text)} is no UUID") from error
