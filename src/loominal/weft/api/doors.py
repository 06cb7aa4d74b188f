"""Who may knock at the HTTP door at all, asked before any route: the right host and origin, and not too often."""

from __future__ import annotations

import ipaddress
import logging
import math
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from loominal.model.errors import BrokerUnavailable
from loominal.model.names import shown
from loominal.weft.api import problems, request_id
from loominal.weft.api.rate import Rate
from loominal.weft.api.tokens import Identity, Tokens

if TYPE_CHECKING:
    from litestar import Response

BODY_BYTES = 4 << 20  # of a request; more than any operation takes
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})
DEFAULT_PORTS = {"http": 80, "https": 443}

log = logging.getLogger(__name__)


class Doors:
    """Lets requests through to `app`. `hosts` are the names under which this weft is reached, beside loopback's."""

    def __init__(self, app: ASGIApp, tokens: Tokens, hosts: Collection[str], rate: Rate) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in hosts} - WILDCARDS
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass on what is none."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        # of several headers of one name the first counts, as the application reads them
        headers = {name: value.decode("latin-1") for name, value in reversed(list(scope["headers"]))}
        mark = request_id.begin(headers.get(request_id.HEADER, "")).encode()

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (request_id.HEADER, mark)]
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, marked)
            return
        log.info("%s %s refused: %s", scope["method"], shown(scope["path"]), refusal.content.detail)
        await _send(refusal, marked)

    def _refusal(self, scope: HTTPScope, headers: dict[bytes, str]) -> Response[problems.ProblemDetails] | None:
        """Return the answer to who may not come in, None to who may."""
        host = headers.get(b"host", "")
        if not self._is_ours(host, scope):
            return problems.answer(
                421, f"{shown(host)} is none of this weft's names", hint="API_HOSTS lists those it has beside its own"
            )
        origin = headers.get(b"origin")
        if origin is not None and not _same_place(origin, host):
            return problems.answer(403, "web pages of other places may not ask here", hint="ask from a program")
        wait_seconds = self._rate.take(self._asker(scope, headers))
        if wait_seconds > 0:
            refusal = problems.answer(
                429,
                f"more than {self._rate.per_second:g} requests a second",
                hint="API_RATE sets how many are answered",
            )
            refusal.headers["Retry-After"] = str(math.ceil(wait_seconds))
            return refusal
        return None

    def _is_ours(self, host: str, scope: HTTPScope) -> bool:
        """Return whether a Host header names this weft, on whatever port: also by the address that was connected to."""
        name = _name_of(host)
        server = scope.get("server")
        return name in self._hosts or (server is not None and _is_address(name) and name == server[0])

    def _asker(self, scope: HTTPScope, headers: dict[bytes, str]) -> str:
        """Return by what the requests of one asker are counted: its bearer token, without a good one its address."""
        identity = identity_of(self._tokens, headers.get(b"authorization", ""))
        if identity is not None:
            return f"token {identity.name}"
        client = scope.get("client")
        return f"address {client[0] if client else ''}"


def identity_of(tokens: Tokens, authorization: str) -> Identity | None:
    """Return who holds the bearer token of an Authorization header; None if it has none that is good by now."""
    scheme, _, text = authorization.partition(" ")
    try:
        return tokens.identify(text.strip()) if scheme.lower() == "bearer" else None
    except BrokerUnavailable:
        return None


def _name_of(host: str) -> str:
    """Return the name or address in a Host header, "" if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError:
        return ""
    return "" if "@" in host or parts.path or parts.query or parts.fragment else (parts.hostname or "").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_place(origin: str, host: str) -> bool:
    """Return whether a page of `origin` was served under `host`: by us, then."""
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        usual = DEFAULT_PORTS.get(page.scheme)
        return page.hostname is not None and (page.hostname, page.port or usual) == (here.hostname, here.port or usual)
    except ValueError:
        return False


async def _send(refusal: Response[problems.ProblemDetails], send: Send) -> None:
    body = msgspec.json.encode(refusal.content)
    given = {"content-type": problems.PROBLEM, "content-length": str(len(body)), **refusal.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    start: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": refusal.content.status,
        "headers": headers,
    }
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
