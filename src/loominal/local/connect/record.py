"""What `loominal connect` did to a client's files, kept in the fabric's directory so that it can be undone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from loominal.broker.secret_file import read_secret, replace_secret
from loominal.local.connect.edit import Op
from loominal.local.connect.interface import Place, Scope
from loominal.local.connect.text import Format
from loominal.model.errors import LoominalError
from loominal.model.record import version

RECORD_VERSION = 1


class Changed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One file: what was in it before us, which bytes we left, and what of them is ours."""

    path: str
    format: Format
    ops: tuple[Op, ...]
    before: bytes | None  # None: there was no file
    after: str  # digest of what we wrote
    folders: tuple[str, ...] = ()  # made for the file, the outermost first


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that was done to one client in one scope."""

    v: int = version(RECORD_VERSION)
    files: tuple[Changed, ...] = ()

    def of(self, path: Path) -> Changed | None:
        """Return what was done to a file, None if nothing."""
        return next((file for file in self.files if file.path == str(path)), None)


def record_path(home: Path, client: str, scope: Scope, place: Place) -> Path:
    """Return where the record lies; each project has its own."""
    project = f"-{digest(str(place.project.resolve()).encode())[:12]}" if scope is Scope.PROJECT else ""
    return home / "connect" / f"{client}.{scope}{project}.json"


def read_record(path: Path) -> Record:
    """Return the record, an empty one if there is none. Raises: LoominalError if it cannot be read."""
    text = read_secret(path)
    try:
        return msgspec.json.decode(text, type=Record) if text else Record()
    except msgspec.DecodeError as error:
        raise LoominalError(f"{path} cannot be read: {error}", "remove it; then nothing can be undone") from error


def write_record(path: Path, record: Record) -> None:
    """Keep the record, readable by its owner only; without files in it there is none. Raises: LoominalError."""
    try:
        if not record.files:
            path.unlink(missing_ok=True)
            return
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LoominalError(f"cannot keep {path}: {error.strerror}", "set LOOMINAL_HOME") from error
    replace_secret(path, msgspec.json.encode(record).decode())


def digest(content: bytes) -> str:
    """Return the digest of a file's bytes."""
    return hashlib.sha256(content).hexdigest()
