"""Where a fabric's broker is reached: by programs of this machine, and by others. For invitations and launches."""

from __future__ import annotations

import ipaddress
import itertools
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from loominal.broker.secret_file import read_secret
from loominal.broker.server_config import WILDCARDS
from loominal.fabric.runtime_file import Mode, Runtime
from loominal.model.errors import Forbidden

LOOPBACK = "127.0.0.1"
ROUTES = Path("/proc/net/fib_trie")
ADDRESSES_6 = Path("/proc/net/if_inet6")
GLOBAL_SCOPE = "00"
OPEN_UP = "`loominal up --listen 0.0.0.0` lets other machines reach it, over TLS"


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker is reached, and the certificate (PEM) that it is checked by; "" where it needs none."""

    urls: tuple[str, ...]
    ca: str = ""


def from_here(runtime: Runtime) -> Reach:
    """Return how programs of this machine reach the broker."""
    return Reach(urls=tuple(runtime.url.split(",")), ca=_certificate(runtime))


def from_elsewhere(runtime: Runtime) -> Reach:
    """Return how other machines reach the broker. Raises: Forbidden if they cannot, over TLS."""
    if runtime.mode is not Mode.EMBEDDED:
        urls = tuple(url for url in runtime.url.split(",") if url.startswith("tls://"))
    else:
        hosts = addresses(runtime.listen) if runtime.listen else []
        port = urlsplit(runtime.url).port
        urls = tuple(f"tls://[{host}]:{port}" if ":" in host else f"tls://{host}:{port}" for host in hosts)
    ca = _certificate(runtime)
    if not urls or not ca:
        raise Forbidden("this fabric serves this machine alone", OPEN_UP)
    return Reach(urls=urls, ca=ca)


def addresses(host: str) -> list[str]:
    """Return how others reach a broker that listens on `host`, which may be all addresses of this machine.

    Loopback only if there is nothing else, so that two fabrics' homes on one machine can be tried out.
    """
    if host not in WILDCARDS:
        return [host]
    own = [each for each in machine_addresses() if ":" not in each or host == "::"]
    return [each for each in own if not ipaddress.ip_address(each).is_loopback] or [LOOPBACK]


def machine_addresses() -> list[str]:
    """Return the addresses of this machine that do not only hold on one link, IPv4 first."""
    lines = ROUTES.read_text().splitlines() if ROUTES.exists() else []
    found = [
        before.split()[-1]
        for before, line in itertools.pairwise(lines)
        if line.split()[:2] == ["/32", "host"] and line.split()[-1] == "LOCAL"
    ]
    for line in ADDRESSES_6.read_text().splitlines() if ADDRESSES_6.exists() else []:
        raw, _, _, scope, *_ = line.split()
        if scope == GLOBAL_SCOPE:
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(raw))))
    return list(dict.fromkeys(found))


def _certificate(runtime: Runtime) -> str:
    return (read_secret(Path(runtime.ca)) or "") if runtime.ca else ""
