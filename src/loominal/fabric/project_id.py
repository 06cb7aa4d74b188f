"""Which project a directory belongs to. Every program asks here at its start; `loominal project` shows the answer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loominal.model.errors import InvalidArgument
from loominal.model.names import project_name, project_of_path

PROJECT_FILE = ".loominal.toml"
VARIABLE = "LOOMINAL_PROJECT_ID"


class ProjectName(msgspec.Struct, frozen=True, kw_only=True):
    """A project: its id, how lists show it (its name or its directory), and why it is this one."""

    id: str
    title: str
    why: str


def find_project(directory: Path, *, name: str = "", variable: str = "") -> ProjectName:
    """Return the project of `directory`, unless `name` (an argument) or `variable` (the environment's) says which.

    The nearest `.loominal.toml` decides; without one the root of the main git worktree, else the directory itself.
    Nothing is run. Raises: InvalidArgument for a malformed name or file, and if the present directory is gone.
    """
    if name:
        return ProjectName(id=project_name(name), title=name, why="it was asked for by name")
    if variable:
        return ProjectName(id=project_name(variable), title=variable, why=f"{VARIABLE} says so")
    real = _real(directory)
    places = [real, *real.parents]
    for place in places:
        if named := _named_in(place / PROJECT_FILE):
            return ProjectName(id=named, title=named, why=f"{place / PROJECT_FILE} says so")
    for place in places:
        if root := _worktree_root(place):
            return _of_path(root, "the root of the git checkout")
    return _of_path(real, "this directory, which is in no git checkout")


def _of_path(path: Path, why: str) -> ProjectName:
    return ProjectName(id=project_of_path(str(path)), title=str(path), why=f"{path} is {why}")


def names_project(directory: Path) -> bool:
    """Return whether a `.loominal.toml` of `directory` or above it names the project. Raises: InvalidArgument."""
    real = _real(directory)
    return any(_named_in(place / PROJECT_FILE) for place in (real, *real.parents))


def _real(directory: Path) -> Path:
    try:
        return directory.resolve()
    except FileNotFoundError as error:  # only of the present one
        raise InvalidArgument("the present directory is gone", "go to one that is there") from error


def _named_in(file: Path) -> str:
    """Return the project that the file names, "" if there is no file or it names none. Raises: InvalidArgument."""
    try:
        text = file.read_text("utf-8")
        import tomllib  # most directories have no such file

        named = tomllib.loads(text).get("project", "")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{file} cannot be read: {error}", 'it should hold one line: project = "name"') from error
    if not isinstance(named, str):
        raise InvalidArgument(f"{file}: project must be a text", 'write project = "name"')
    return project_name(named) if named else ""


def _worktree_root(place: Path) -> Path | None:
    """Return the root of the main worktree if `place` is the root of a git checkout, else None.

    Source: gitrepository-layout(5): a linked worktree's `.git` is a file `gitdir: …`, and there `commondir` leads to
    the repository that all its worktrees share.
    """
    marker = place / ".git"
    if (marker / "HEAD").is_file():
        return place
    pointed = _line(marker).removeprefix("gitdir:").strip()
    if not pointed:
        return None
    linked = place / pointed
    shared = _line(linked / "commondir")
    if not shared:
        return place  # a submodule, or a checkout whose repository lies elsewhere
    repository = (linked / shared).resolve()
    return repository.parent if repository.name == ".git" else repository


def _line(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""
