"""What `loominal connect` wants of a client, and what a client answers: which files, and what belongs into them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from loominal.fabric.operations import OPERATIONS
from loominal.local.connect.edit import Op, Put
from loominal.local.connect.text import Format

SERVER = "loominal"  # what the MCP server is called in every client, so that its tools have the same names
ASKED_FIRST = {"cancel_work", "discard_dead_letter_item", "deregister_agent"}  # they undo what others rely on
ALLOWED_TOOLS = tuple(name for name, operation in OPERATIONS.items() if operation.tool and name not in ASKED_FIRST)


class Scope(StrEnum):
    """For whom a client is configured."""

    USER = "user"  # all projects of this user
    PROJECT = "project"  # everybody who works in this directory


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients keep their files: the user's home, the present directory, and variables that move the former."""

    home: Path
    project: Path
    environ: Mapping[str, str]

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Place:
        """Return the place of this process."""
        return cls(home=Path(environ.get("HOME") or Path.home()), project=Path.cwd(), environ=environ)

    def moved(self, variable: str, default: Path) -> Path:
        """Return the directory that `variable` names, `default` if it names none."""
        named = self.environ.get(variable, "")
        return Path(named).expanduser().absolute() if named else default

    def config(self) -> Path:
        """Return the XDG configuration directory."""
        named = Path(self.environ.get("XDG_CONFIG_HOME", ""))
        return named if named.is_absolute() else self.home / ".config"

    def on_path(self, *programs: str) -> bool:
        """Return whether one of `programs` can be run."""
        return any(shutil.which(program, path=self.environ.get("PATH")) for program in programs)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written."""

    scope: Scope
    program: tuple[str, ...]  # warp, as an argument list
    allow: bool = False  # permission rules for ALLOWED_TOOLS
    hooks: bool = False

    @property
    def server(self) -> dict[str, object]:
        """The server as most clients want it."""
        return {"command": self.program[0], "args": list(self.program[1:])}


class FileEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs into one file."""

    path: Path
    format: Format
    ops: tuple[Op, ...]


class Client(Protocol):
    """An agent client. Its first edit is always the one that names the server."""

    name: str
    title: str

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return what belongs into which of the client's files."""

    def notes(self, place: Place, wish: Wish) -> list[str]:
        """Return what the user has to know or do besides."""


def warp_program(scope: Scope) -> tuple[str, ...]:
    """Return how a client starts warp: by its absolute path, in a project's shared files by its name."""
    if scope is Scope.PROJECT:
        return ("warp",)
    beside = Path(sys.executable).parent / "warp"  # the path as it was called: resolved, it would leave the venv
    if os.access(beside, os.X_OK):
        return (str(beside.absolute()),)
    return (str(Path(sys.executable).absolute()), "-m", "loominal.warp.main")


def server_edit(path: Path, form: Format, parent: str, server: dict[str, object]) -> FileEdit:
    """Return the edit that names the server in a file which keeps its servers under `parent`.

    A server that starts the same program stays as it is: what the user added to it (`--channel`) is meant.
    """
    own = "" if server.get("args") else "command"  # with arguments of ours the program alone says nothing
    return FileEdit(path=path, format=form, ops=(Put(keys=(parent, SERVER), value=server, unless_same=own),))
