"""The log as JSON, one object a line, for machines that collect it (`LOG_FORMAT=json`)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from loominal.fabric.hub.about import said
from loominal.weft.api import request_id

OF_ONE_LINE = ("agent", "work")  # what a single line may say that it is about, as logging's `extra`


class JsonLines(logging.Formatter):
    """Writes time, level, logger and message, what the line is about as far as that is known, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **said(),
            **{name: record.__dict__[name] for name in OF_ONE_LINE if name in record.__dict__},
        }
        if asked := request_id.current():
            line["requestId"] = asked
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode({name: _plain(text) for name, text in line.items()}).decode()


def _plain(text: str) -> str:
    """Return `text` without what UTF-8 cannot say: a line is never lost for that."""
    return text.encode("utf-8", "backslashreplace").decode()
