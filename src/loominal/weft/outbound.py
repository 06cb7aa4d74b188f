"""Requests that weft makes to addresses that others chose. Called by the mechanisms that speak HTTP.

A name is resolved once, every address it has is judged, and the connection goes to one of just these: what the name
means a moment later does not matter. No redirect is followed, no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from loominal.fabric.invitation import PREFIX
from loominal.model.errors import Forbidden, Unconfirmed, Unreachable
from loominal.model.names import one_line, shown

if TYPE_CHECKING:
    import httpx2  # slow to import: loaded when something is sent

ANSWER_BYTES = 1 << 20  # of a body, what is read
CONNECT_SECONDS = 10.0  # for one address
AGENT = "loominal"
CORRECT = "see that the address is right, and that something listens there"
ENROLMENT = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{8,}")
TEXT_BYTES = 4000  # of a body, of which
TEXT_CHARACTERS = 300  # are shown
IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits
METADATA = frozenset(  # who asks these for a cloud's credentials gets them: never, whatever is allowed
    ipaddress.ip_address(each) for each in ("169.254.169.254", "169.254.170.2", "168.63.129.16", "fd00:ec2::254")
)


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A request. Its headers may hold secrets."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"{self.method} {self.url}"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `headers` by lower-case name, `body` at most ANSWER_BYTES and as far as it came."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def text(self) -> str:
        """The beginning of the body, in one line, for people: without the enrolment, if that was sent back."""
        return one_line(ENROLMENT.sub("…", self.body[:TEXT_BYTES].decode("utf-8", "replace")), TEXT_CHARACTERS)


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, as this machine knows them. Raises: OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Outbound:
    """Sends requests to public addresses, and to private ones only if the machine's owner allows that."""

    def __init__(
        self, *, private_networks: bool = False, resolver: Resolve = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        self._private_networks = private_networks
        self._resolve = resolver
        self._tls = tls  # None: the authorities that this machine trusts

    async def send(self, request: Outgoing, *, timeout_seconds: float) -> Reply:
        """Return what answers.

        Raises: Forbidden for an address that nothing may be sent to; Unreachable if nothing was sent; Unconfirmed if
        it was sent and no answer came.
        """
        url = parsed(request.url)
        sent = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._send_to(await self._addresses(url), url, request, sent)
        except TimeoutError as error:
            what = f"{_place(url)} did not answer within {timeout_seconds:g} s"
            raise (Unconfirmed(what) if sent.is_set() else Unreachable(what, CORRECT)) from error

    async def reach(self, text: str, *, timeout_seconds: float) -> str:
        """Return the address that a connection to a URL was made with, TLS too. Raises: Forbidden, Unreachable."""
        url = parsed(text)
        secure = url.scheme == "https"
        address = ""
        try:
            async with asyncio.timeout(timeout_seconds):
                address = (await self._addresses(url))[0]
                _, writer = await asyncio.open_connection(
                    address,
                    _port(url),
                    ssl=self._context if secure else None,
                    server_hostname=url.raw_host.decode() if secure else None,
                )
                writer.close()
                with contextlib.suppress(OSError):  # of the farewell
                    await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            raise Unreachable(
                f"{_place(url)} cannot be reached at {address or 'any address'}: {_why(error)}"
            ) from error
        return address

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        host = url.raw_host.decode()
        if url.scheme != "https" and not self._private_networks:
            raise Forbidden(f"{_place(url)} is not https: whoever is on the way reads the secrets", "use https")
        try:
            found = await self._resolve(host, _port(url))
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"there is no address for {shown(host)}: {_why(error)}", CORRECT) from error
        for address in found:
            if refused := self._refusal(ipaddress.ip_address(address.partition("%")[0])):
                raise Forbidden(
                    f"{shown(host)} is at {address}, {refused}", "its owner can: [allow] privateNetworks in weft.toml"
                )
        if not found:
            raise Unreachable(f"there is no address for {shown(host)}", CORRECT)
        return found

    def _refusal(self, address: IPAddress) -> str:
        """Return why nothing may be sent to `address`, "" if something may."""
        for each in _meant(address):
            if each in METADATA:
                return "where clouds keep their machines' credentials"
            if each.is_multicast or each.is_unspecified or each == ipaddress.ip_address("255.255.255.255"):
                return "which is no single machine's"
            if not each.is_global and not self._private_networks:
                return "which is not public, and this weft sends nothing into private networks"
        return ""

    @cached_property
    def _context(self) -> ssl.SSLContext:
        import httpx2

        return self._tls or httpx2.create_ssl_context()

    async def _send_to(self, addresses: list[str], url: httpx2.URL, request: Outgoing, sent: asyncio.Event) -> Reply:
        """Return the answer of the first address that takes a connection; `sent` is set before it is used."""
        import httpx2

        # without TLS one that trusts nobody, which is made sooner than one that knows whom this machine trusts
        tls = self._context if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        refused = Unreachable(f"{_place(url)} cannot be reached")
        async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=timeout) as client:
            for address in addresses:
                try:
                    return await _answer(client, _built(client, url, address, request, sent))
                except (httpx2.TransportError, httpx2.InvalidURL) as error:
                    if sent.is_set():
                        lost = f"{_place(url)} was asked, and its answer is lost: {_why(error)}"
                        raise Unconfirmed(lost) from error
                    refused = Unreachable(f"{_place(url)} cannot be reached at {address}: {_why(error)}", CORRECT)
        raise refused


def _built(
    client: httpx2.AsyncClient, url: httpx2.URL, address: str, request: Outgoing, sent: asyncio.Event
) -> httpx2.Request:
    """Return `request` as it goes to `address` under the name of `url`."""

    async def trace(event: str, _: object) -> None:
        if event.endswith("send_request_headers.started"):
            sent.set()

    host = url.netloc.decode()
    return client.build_request(
        request.method,
        url.copy_with(host=address),
        headers={**request.headers, "Host": host, "Accept-Encoding": "identity", "User-Agent": AGENT},
        content=request.body,
        extensions={"sni_hostname": url.raw_host.decode(), "trace": trace},
    )


async def _answer(client: httpx2.AsyncClient, request: httpx2.Request) -> Reply:
    import httpx2

    answer = await client.send(request, stream=True, follow_redirects=False)
    body = bytearray()
    try:
        async for part in answer.aiter_raw():  # as it comes: nothing that inflates
            body += part
            if len(body) >= ANSWER_BYTES:
                break
    except httpx2.TransportError:
        pass  # the answer itself is there; who needs the rest sees that it is cut
    finally:
        await answer.aclose()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(status=answer.status_code, headers=headers, body=bytes(body[:ANSWER_BYTES]))


def retry_after(reply: Reply, now: float) -> float:
    """Return how many seconds `reply` asks to wait; 0 if it does not say. `now` is in Unix seconds."""
    asked = reply.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - now)
    except (ValueError, OverflowError):  # no date; one of a year that no date has
        return 0.0


def _meant(address: IPAddress) -> list[IPAddress]:
    """Return `address` and, if it only wraps an IPv4 address, that one instead."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner: list[IPAddress] = [address]
    if address in NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        inner.append(address.sixtofour)
    if address.teredo is not None:
        inner.extend(address.teredo)
    return inner


def parsed(text: str) -> httpx2.URL:
    """Return a URL as it is used. Raises: Unreachable if it can be no one's."""
    import httpx2

    try:
        return httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise Unreachable(f"{shown(text)} is no URL: {_why(error)}") from error


def _port(url: httpx2.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _place(url: httpx2.URL) -> str:
    """Return the address without what may be a secret: its path and its query."""
    return f"{url.scheme}://{url.netloc.decode()}"


def _why(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
