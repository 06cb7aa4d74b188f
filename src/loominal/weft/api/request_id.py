"""The id of the HTTP request that is being answered: in every answer, every problem, and every line of the log."""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar

HEADER = b"x-request-id"
SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # whatever else a client sends does not get into our log

_current: ContextVar[str] = ContextVar("request id", default="")  # of the task that answers; never changed within it


def begin(given: str) -> str:
    """Call the request of this task as its client does, if that is a name, else by a new id; return it."""
    request_id = given if SANE.fullmatch(given) else uuid.uuid4().hex
    _current.set(request_id)
    return request_id


def current() -> str:
    """Return the id of the request that this task answers, "" outside of one."""
    return _current.get()


class InLog(logging.Filter):
    """Lets every line pass, with its request as `request`: " [id]", or nothing outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True."""
        record.request = f" [{current()}]" if current() else ""
        return True
