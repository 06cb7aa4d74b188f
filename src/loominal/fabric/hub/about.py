"""What a line of the log is about: the project, the agent, its op and the work item of what a task is doing.

Whoever begins a piece of work says so once; every line that is written in it, and in tasks that it starts, carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})

_current: ContextVar[Mapping[str, str]] = ContextVar("about", default=NOTHING)


def about(**what: str) -> None:
    """Say of what this task's lines are from now on, beside what was said before; empty values say nothing."""
    _current.set({**_current.get(), **{name: value for name, value in what.items() if value}})


def said() -> Mapping[str, str]:
    """Return what this task's lines are about."""
    return _current.get()
