"""Reading and replacing the files of clients: links are followed, modes kept, nothing is ever half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from loominal.model.errors import LoominalError

USER_MODE = 0o600  # of a new file: clients keep secrets beside our lines
PROJECT_MODE = 0o644


def read_bytes(path: Path) -> bytes | None:
    """Return what is in the file, None if there is none. Raises: LoominalError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoominalError(f"cannot read {path}: {error.strerror}", "nothing was changed") from error


def missing_folders(path: Path) -> list[Path]:
    """Return the folders that have to be made for the file, the outermost first."""
    return [folder for folder in reversed(Path(os.path.realpath(path)).parents) if not folder.exists()]


def replace_bytes(path: Path, content: bytes, *, new_mode: int) -> None:
    """Write the file, or the one it links to, all at once; its mode and owner stay. Raises: LoominalError."""
    real = Path(os.path.realpath(path))
    try:
        real.parent.mkdir(mode=0o755 if new_mode == PROJECT_MODE else 0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), _mode(real, new_mode))
                _keep_owner(real, file.fileno())
                os.fsync(file.fileno())
            Path(name).replace(real)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise LoominalError(f"cannot write {real}: {error.strerror}", "check its owner and the free space") from error


def remove_file(path: Path, folders: list[Path]) -> None:
    """Remove the file, then those of `folders` that are empty. Raises: LoominalError."""
    try:
        Path(os.path.realpath(path)).unlink(missing_ok=True)
    except OSError as error:
        raise LoominalError(f"cannot remove {path}: {error.strerror}") from error
    for folder in reversed(folders):
        with contextlib.suppress(OSError):  # something else is in it by now
            folder.rmdir()


def _mode(path: Path, new_mode: int) -> int:
    return path.stat().st_mode & 0o7777 if path.exists() else new_mode


def _keep_owner(path: Path, handle: int) -> None:
    if path.exists():
        with contextlib.suppress(PermissionError):  # whoever may write the folder need not own the file
            os.fchown(handle, path.stat().st_uid, path.stat().st_gid)
