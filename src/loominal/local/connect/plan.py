"""What connecting a client, or undoing it, does to which files; worked out completely before anything is written."""

from __future__ import annotations

import difflib
from pathlib import Path

import msgspec

from loominal.local.connect.edit import Unfit, applied, reverted
from loominal.local.connect.files import (
    PROJECT_MODE,
    USER_MODE,
    missing_folders,
    read_bytes,
    remove_file,
    replace_bytes,
)
from loominal.local.connect.interface import Client, FileEdit, Place, Scope, Wish
from loominal.local.connect.record import Changed, Record, digest, read_record, record_path, write_record
from loominal.local.connect.text import GRAMMARS, Format
from loominal.model.errors import LoominalError

BOM = "\ufeff"


class Rewrite(msgspec.Struct, frozen=True, kw_only=True):
    """One file's change; None stands for no file."""

    path: Path
    old: bytes | None
    new: bytes | None
    remark: str = ""
    folders: tuple[Path, ...] = ()  # to be removed with the file if nothing else is in them


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All changes for one client, and what will be known of them afterwards."""

    rewrites: list[Rewrite]
    record: Record
    record_path: Path
    scope: Scope

    def carry_out(self) -> None:
        """Write everything. Raises: LoominalError, for a file that somebody else has just changed, too."""
        if self.record.files:
            write_record(self.record_path, self.record)  # first: whatever happens next can be undone
        for rewrite in self.rewrites:
            if read_bytes(rewrite.path) != rewrite.old:
                raise LoominalError(f"{rewrite.path} has just been changed by another program", "run this again")
            if rewrite.new is None:
                remove_file(rewrite.path, list(rewrite.folders))
            else:
                mode = USER_MODE if self.scope is Scope.USER else PROJECT_MODE
                replace_bytes(rewrite.path, rewrite.new, new_mode=mode)
        if not self.record.files:
            write_record(self.record_path, self.record)

    def diff(self) -> str:
        """Return the changes as a unified diff."""
        return "".join(_diff(rewrite) for rewrite in self.rewrites)


def connecting(client: Client, place: Place, wish: Wish, home: Path) -> Plan:
    """Return what makes the client know Loominal; no rewrites if it does. Raises: LoominalError."""
    kept_at = record_path(home, client.name, wish.scope, place)
    record = read_record(kept_at)
    rewrites = []
    for edit in client.edits(place, wish):
        old = read_bytes(edit.path)
        new = _put_in(edit, old)
        if new != old:
            rewrites.append(Rewrite(path=edit.path, old=old, new=new))
            others = tuple(file for file in record.files if file.path != str(edit.path))
            changed = _changed(edit, old, new, record.of(edit.path))
            record = msgspec.structs.replace(record, files=(*others, changed))
    return Plan(rewrites=rewrites, record=record, record_path=kept_at, scope=wish.scope)


def undoing(client: Client, place: Place, scope: Scope, home: Path) -> Plan:
    """Return what takes everything of ours out again; no rewrites if nothing is known to be there.

    A file as we left it becomes what it was, byte for byte; from one that was changed since only our parts are taken.
    Raises: LoominalError if that cannot be done cleanly.
    """
    kept_at = record_path(home, client.name, scope, place)
    rewrites = []
    for file in read_record(kept_at).files:
        path = Path(file.path)
        old = read_bytes(path)
        new, remark = _before(file, old)
        if new != old:
            folders = tuple(map(Path, file.folders))
            rewrites.append(Rewrite(path=path, old=old, new=new, remark=remark, folders=folders))
    return Plan(rewrites=rewrites, record=Record(), record_path=kept_at, scope=scope)


def _put_in(edit: FileEdit, old: bytes | None) -> bytes:
    text, bom = _text(edit.path, edit.format, old)
    try:
        return (bom + applied(text, edit.format, edit.ops)).encode()
    except ValueError as error:
        raise LoominalError(f"{edit.path} was left as it is: {error}", "look into it, or put this there by hand: "
                            + "; ".join(f"{'.'.join(op.keys)}" for op in edit.ops)) from error  # fmt: skip


def _changed(edit: FileEdit, old: bytes | None, new: bytes, earlier: Changed | None) -> Changed:
    """Return what is to be remembered of a file that is changed from `old` to `new`."""
    if earlier is None:
        folders = tuple(map(str, missing_folders(edit.path)))
        return Changed(
            path=str(edit.path), format=edit.format, ops=edit.ops, before=old, after=digest(new), folders=folders
        )
    before, _ = _before(earlier, old)
    ops = earlier.ops + tuple(op for op in edit.ops if op not in earlier.ops)
    return msgspec.structs.replace(earlier, ops=ops, before=before, after=digest(new))


def _before(file: Changed, now: bytes | None) -> tuple[bytes | None, str]:
    """Return what the file would be without us, and a remark if it is no longer as we left it."""
    if now is None or now == file.before:
        return now, ""
    if digest(now) == file.after:
        return file.before, ""
    path = Path(file.path)
    text, bom = _text(path, file.format, now)
    was, _ = _text(path, file.format, file.before)
    try:
        rest = reverted(text, file.format, file.ops, was)
    except ValueError as error:
        raise LoominalError(
            f"{path} was changed since, and our parts cannot be taken out cleanly: {error}",
            "it was left as it is: take the parts named loominal out by hand",
        ) from error
    remark = "was changed since: only our parts are taken out"
    if file.before is None and not GRAMMARS[file.format].parse(rest) and rest.strip() in ("", "{}"):
        return None, ""
    return (bom + rest).encode(), remark


def _text(path: Path, form: Format, content: bytes | None) -> tuple[str, str]:
    """Return a file's text and its byte order mark. Raises: LoominalError if it is malformed."""
    try:
        text = (content or b"").decode()
        bom = BOM if text.startswith(BOM) else ""
        text = text.removeprefix(BOM)
        data = GRAMMARS[form].parse(text)
    except ValueError as error:
        raise LoominalError(
            f"{path} is malformed {form}: {error}", "it was left as it is: mend it, then run this again"
        ) from error
    if not isinstance(data, dict):
        raise LoominalError(f"{path} was left as it is: {Unfit('it holds no object')}", "look into it")
    return text, bom


def _diff(rewrite: Rewrite) -> str:
    old, new = ((side or b"").decode(errors="replace").splitlines(keepends=True) for side in (rewrite.old, rewrite.new))
    before, after = ("/dev/null" if side is None else str(rewrite.path) for side in (rewrite.old, rewrite.new))
    lines = difflib.unified_diff(old, new, before, after)
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
