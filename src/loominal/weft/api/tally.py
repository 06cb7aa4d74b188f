"""What the HTTP interface counts of its requests and of who reads its events."""

from __future__ import annotations

import time
from collections import Counter

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from loominal.fabric.hub.tally import SHORT_SECONDS, Histogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
OTHER, NOWHERE = "(other)", "(none)"  # a method of the client's own; a path that is no route's, or was not looked at
CUTS = (
    "slow",
    "leaving",
    "token",
)  # why readers of live events are cut off: so that each is there before the first one


class HttpTally:
    """The numbers; whoever serves event readers keeps `readers` and `cut` itself."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()  # by method, route and status
        self.seconds: dict[tuple[str, str], Histogram] = {}  # by method and route, until the answer begins
        self.readers = 0  # of live events, now
        self.cut = Counter(dict.fromkeys(CUTS, 0))  # readers that were cut off, by reason

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests[method, route, status] += 1
        if (method, route) not in self.seconds:
            self.seconds[method, route] = Histogram(SHORT_SECONDS)
        self.seconds[method, route].add(seconds)


class Counted:
    """Counts what `app` answers in `tally`; a route is counted as the path is written in the OpenAPI document."""

    def __init__(self, app: ASGIApp, tally: HttpTally) -> None:
        self._app = app
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.monotonic()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else OTHER
                route = scope.get("path_template") or NOWHERE
                self._tally.answered(method, route, message["status"], time.monotonic() - began)
            await send(message)

        await self._app(scope, receive, counting)
