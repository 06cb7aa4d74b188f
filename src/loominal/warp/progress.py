"""Signs of life while a call takes long, for clients that asked for them."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from loominal.warp.rpc import Call, Json

PROGRESS_SECONDS = 5.0


class Progress:
    """While its block runs, the client is told every few seconds, if its request has a progress token."""

    def __init__(self, call: Call, total_seconds: float) -> None:
        self._call = call
        self._total_seconds = total_seconds
        self._token = call.meta.get("progressToken")
        self._began = time.monotonic()
        self._next: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if isinstance(self._token, (str, int)):
            self._plan()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._next is not None:
            self._next.cancel()

    def _plan(self) -> None:
        self._next = asyncio.get_running_loop().call_later(PROGRESS_SECONDS, self._tell)

    def _tell(self) -> None:
        passed = round(time.monotonic() - self._began, 1)
        params: Json = {"progressToken": self._token, "progress": passed, "message": "still waiting"}
        if self._total_seconds > passed:
            params["total"] = self._total_seconds
        self._call.notify("notifications/progress", params)
        self._plan()
