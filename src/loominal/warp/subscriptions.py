"""Who wants to be told when a resource changes, and telling them: soon, not too often, and again while mail waits.

The handshake era subscribes by `resources/subscribe`, the modern one by a `subscriptions/listen` that stays open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from loominal.fabric.protocol import ControlKind
from loominal.model.errors import LoominalError
from loominal.warp import resources
from loominal.warp.era import SUBSCRIPTION
from loominal.warp.link import Link, Someone
from loominal.warp.resources import INBOX, WORK
from loominal.warp.rpc import INVALID_PARAMS, Call, Json, RpcError

if TYPE_CHECKING:
    from loominal.fabric.protocol import Control

COALESCE_SECONDS = 0.5  # what happens within is told once
REPEAT_SECONDS = 30.0  # while mail waits; what was missed during a reconnect is noticed then, too
MOST = 100  # resources of one client: each work item is looked at now and then

Notify = Callable[[str, Json], None]


class Subscriptions:
    """The subscribed resources of one client. `keep` tells of changes, `hear` learns of them from an agent."""

    def __init__(self, link: Link, notify: Notify) -> None:
        self._link = link
        self._notify = notify
        self._subscribed: set[str] = set()
        self._listening: dict[int, tuple[Call, frozenset[str]]] = {}
        self._changed = asyncio.Event()
        self._news = False  # mail came in since it was last told, or the agent is to end
        self._seen: dict[str, object] = {}  # uri of a work item -> where it stood when it was last looked at
        self._told_at = float("-inf")
        link.on_agent.append(self._hear)

    def subscribe(self, uri: str) -> None:
        """Tell of changes of `uri` from now on. Raises: RpcError if there is no such resource."""
        if not resources.is_known(uri):
            raise RpcError(INVALID_PARAMS, f"there is no resource {uri!r}", {"uri": uri})
        if len(self._subscribed) >= MOST:
            raise RpcError(INVALID_PARAMS, f"at most {MOST} resources may be subscribed to")
        self._subscribed.add(uri)
        self._look_soon()

    def unsubscribe(self, uri: str) -> None:
        """Tell no more of `uri`."""
        self._subscribed.discard(uri)

    async def listen(self, call: Call) -> None:
        """Serve one `subscriptions/listen` until the client cancels it or leaves."""
        wanted = call.params.get("notifications")
        if not isinstance(wanted, dict):
            raise RpcError(INVALID_PARAMS, "subscriptions/listen needs notifications, an object")
        uris = wanted.get("resourceSubscriptions") or []
        if not isinstance(uris, list) or len(uris) > MOST:
            raise RpcError(INVALID_PARAMS, f"resourceSubscriptions is a list of at most {MOST} addresses")
        honored = list(dict.fromkeys(uri for uri in uris if isinstance(uri, str) and resources.is_known(uri)))
        call.notify(
            "notifications/subscriptions/acknowledged",
            {
                "notifications": {"resourceSubscriptions": honored} if honored else {},
                "_meta": {SUBSCRIPTION: call.number},
            },
        )
        call.waits = True
        self._listening[id(call)] = call, frozenset(honored)
        self._look_soon()
        try:
            await asyncio.Event().wait()
        finally:
            del self._listening[id(call)]

    async def keep(self) -> None:
        """Look at what is subscribed when something happened, and now and then, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS if self._uris() else None):
                    await self._changed.wait()
            self._changed.clear()
            news, self._news = self._news, False
            with suppress(LoominalError):  # away, or not registered yet: the next look is soon enough
                await self._look(news=news)
            await asyncio.sleep(COALESCE_SECONDS)

    async def _look(self, *, news: bool) -> None:
        agent = self._link.present
        uris = self._uris()
        if agent is None or self._link.busy:  # a question of ours would count as the client's own next one
            if news and INBOX in uris:
                self._tell(INBOX)
            return
        due = news or time.monotonic() - self._told_at >= REPEAT_SECONDS
        if INBOX in uris and due and (news or (await resources.inbox(agent))["unread"]):
            self._tell(INBOX)
            self._told_at = time.monotonic()
        for uri in uris:
            if uri.startswith(WORK):
                await self._look_at_work(agent, uri)

    async def _look_at_work(self, agent: Someone, uri: str) -> None:
        found = await resources.work(agent, uri.removeprefix(WORK))
        stands = tuple(str(found.get(name)) for name in ("status", "attempt", "claimedBy", "progress"))
        before = self._seen.get(uri)
        self._seen[uri] = stands
        if before not in (None, stands):
            self._tell(uri)

    def _tell(self, uri: str) -> None:
        if uri in self._subscribed:
            self._notify("notifications/resources/updated", {"uri": uri})
        for call, uris in self._listening.values():
            if uri in uris:
                call.notify("notifications/resources/updated", {"uri": uri, "_meta": {SUBSCRIPTION: call.number}})

    def _uris(self) -> frozenset[str]:
        return frozenset(self._subscribed).union(*(uris for _, uris in self._listening.values()))

    def _look_soon(self) -> None:
        self._changed.set()

    def _hear(self, agent: Someone) -> None:
        def mailed() -> None:
            self._news = True
            self._look_soon()

        def nudged(control: Control) -> None:
            self._news |= control.kind in (ControlKind.DRAIN, ControlKind.REVOKED)
            self._look_soon()

        agent.on_mail(mailed)
        agent.on_control(nudged)
        self._look_soon()
