"""Files that hold secrets: readable by their owner only, never half-written. Credentials and keyring keep theirs so."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from loominal.model.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_secret(path: Path) -> str | None:
    """Return the file's text, or None if there is none. Raises: InvalidArgument if it cannot be read as text."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}", "check the path and its permissions") from error


def replace_secret(path: Path, text: str) -> None:
    """Write `text` to `path` with mode 0600, in place of what was there. Raises: InvalidArgument."""
    with _draft(path, text) as draft:
        draft.replace(path)


def create_secret(path: Path, text: str) -> bool:
    """Write `text` to `path` with mode 0600 unless there is a file; return whether this call wrote it.

    Of several that create one file at once exactly one gets True. Raises: InvalidArgument.
    """
    with _draft(path, text) as draft:
        try:
            path.hardlink_to(draft)  # unlike a rename, a link never replaces
        except FileExistsError:
            return False
        return True


@contextlib.contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """Yield a complete file beside `path`; afterwards it is gone, and what the caller made of it is on disk."""
    import tempfile  # whoever only reads does not load it

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".draft-")  # made with mode 0600
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise InvalidArgument(f"cannot write {path}: {error}", "check the folder's owner and its free space") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
