"""The two eras of MCP: versions agreed upon by `initialize`, and since 2026-07-28 a version named in every request."""

from __future__ import annotations

import loominal
from loominal.warp.rpc import INVALID_PARAMS, METHOD_NOT_FOUND, Call, Json, RpcError

HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # newest first
MODERN = "2026-07-28"
BATCHES = "2025-03-26"  # the one version that has them
UNSUPPORTED_VERSION = -32022
PREFIX = "io.modelcontextprotocol/"
VERSION, CLIENT, CAPABILITIES = PREFIX + "protocolVersion", PREFIX + "clientInfo", PREFIX + "clientCapabilities"
SERVER, SUBSCRIPTION = PREFIX + "serverInfo", PREFIX + "subscriptionId"
SERVER_INFO: Json = {"name": "loominal", "title": "Loominal", "version": loominal.__version__}

_CACHED_SECONDS = {
    "server/discover": 3600,
    "tools/list": 3600,
    "prompts/list": 3600,
    "resources/list": 3600,
    "resources/templates/list": 3600,
    "resources/read": 0,
}  # how long a client may keep an answer: what cannot change while this process lives, and what may at any time


def is_modern(call: Call) -> bool:
    """Return whether the request names its version. Raises: RpcError if that is none we speak."""
    meta = call.meta
    if VERSION not in meta:
        if call.method in ("server/discover", "subscriptions/listen"):
            raise RpcError(INVALID_PARAMS, f"params._meta must name {VERSION!r} and {CAPABILITIES!r}")
        return False
    if call.method == "initialize":  # a handshake is one, whatever stands beside it
        return False
    if not isinstance(meta[VERSION], str):
        raise RpcError(INVALID_PARAMS, f"{VERSION!r} must be a text")
    if meta[VERSION] != MODERN:
        data = {"supported": [MODERN, *HANDSHAKES], "requested": meta[VERSION]}
        raise RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", data)
    if not isinstance(meta.get(CAPABILITIES), dict):
        raise RpcError(INVALID_PARAMS, f"params._meta must name {CAPABILITIES!r}")
    return True


def refuse_modern(call: Call) -> None:
    """Refuse a request of the modern era, so that a client of both begins with a handshake. Raises: RpcError."""
    if call.method == "server/discover":
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    if VERSION in call.meta and call.method != "initialize":
        data = {"supported": HANDSHAKES, "requested": call.meta[VERSION]}
        raise RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def agreed(version: object) -> str:
    """Return the version that a handshake agrees upon: the client's if it is known, else the newest."""
    return version if isinstance(version, str) and version in HANDSHAKES else HANDSHAKES[0]


def client_name(call: Call) -> str:
    """Return how the client calls itself, "" if it does not say."""
    info = call.params.get("clientInfo") if call.method == "initialize" else call.meta.get(CLIENT)
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) else ""


def complete(method: str, result: Json) -> Json:
    """Return a result as the modern era wants it: complete, by whom, and for how long it holds."""
    added: Json = {"resultType": "complete", "_meta": {SERVER: SERVER_INFO, **result.get("_meta", {})}}
    if method in _CACHED_SECONDS:
        added |= {"ttlMs": 1000 * _CACHED_SECONDS[method], "cacheScope": "private"}
    return result | added
