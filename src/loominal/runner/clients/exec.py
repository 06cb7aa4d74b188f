"""`exec`: any command. The item comes as JSON on its stdin; on its stdout each line is a JSON object.

It is `{"progress": 40, "message": "…"}`, or at the end `{"result": {…}, "summary": "…", "artifacts": […]}`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from loominal.fabric.protocol import encode_answer
from loominal.model.agent import JsonObject
from loominal.model.work import Artifact
from loominal.runner.clients.interface import Delivery, Progress, Start, Task


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What the command may say in a line; other fields are passed over."""

    progress: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    message: str = ""
    result: JsonObject | None = None
    summary: str | None = None
    artifacts: tuple[Artifact, ...] = ()


class Exec:
    """A command of the user's."""

    name = "exec"
    program: tuple[str, ...] = ()

    def start(self, task: Task) -> Start:
        """Return the item as what the command reads."""
        return Start(stdin=encode_answer(task.item) + b"\n")

    def reader(self) -> Lines:
        """Return a reader of one process's output."""
        return Lines()


class Lines:
    """What a command has said."""

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.usage: JsonObject = {}

    def read(self, line: bytes) -> Progress | None:
        """Take the next line. Raises: DecodeError if it says nothing that we know."""
        said = msgspec.json.decode(line, type=Line)
        if said.result is not None or said.summary is not None:
            self.delivery = Delivery(summary=said.summary or "done", result=said.result or {}, artifacts=said.artifacts)
        elif said.progress is None and not said.message:
            raise msgspec.ValidationError("neither progress nor a result")
        if said.progress is None and not said.message:
            return None
        return Progress(percent=said.progress, message=said.message)
