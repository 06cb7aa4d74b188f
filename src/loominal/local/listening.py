"""Where the fabric's broker listens: `up --listen HOST[:PORT]` says it, `config.json` keeps it, invitations tell it."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

import msgspec

from loominal.broker.server import free_port
from loominal.broker.server_config import ServerSettings
from loominal.fabric.addresses import LOOPBACK, addresses
from loominal.local.home import Config, keep_config, read_config, tls_directory
from loominal.model.errors import InvalidArgument
from loominal.model.names import shown

HOW = "write HOST or HOST:PORT, for example 0.0.0.0 or 192.168.1.5:4222"
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """An address or name of this machine, or all of them; `port` 0 is whichever the fabric has."""

    host: str
    port: int = 0

    @property
    def plain(self) -> bool:
        """Whether only this machine can reach it, in the way that needs no TLS."""
        return self.host == LOOPBACK


def parse_listen(text: str) -> Listen:
    """Return what `--listen` says: `HOST`, `HOST:PORT`, `[IPV6]:PORT`. Raises: InvalidArgument."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?", text)
    if bracketed:
        host, digits = bracketed[1], bracketed[2] or ""
    elif text.count(":") == 1:
        host, _, digits = text.partition(":")
        if not re.fullmatch(r"\d{1,5}", digits):
            raise InvalidArgument(f"{shown(text)} has no port behind its colon", HOW)
    else:
        host, digits = text, ""
    port = int(digits or 0)
    if port > 65535 or (digits and port == 0):
        raise InvalidArgument(f"{shown(text)}: a port is 1 to 65535", HOW)
    return Listen(host=_host(host), port=port)


def keep_listen(home: Path, listen: Listen) -> Config | None:
    """Let the broker of `home` listen there from its next start on; None if it does already.

    Raises: InvalidArgument if that is no address of this machine, or somebody else has the port.
    """
    before = read_config(home) or Config(broker_port=free_port())
    port = listen.port or before.broker_port
    wanted = msgspec.structs.replace(before, broker_port=port, listen="" if listen.plain else listen.host)
    if wanted == read_config(home):
        return None
    _check(listen.host, port if port != before.broker_port else 0)
    return keep_config(home, wanted)


def broker_url(home: Path, config: Config) -> str:
    """Return where this machine's programs find the broker that is configured so."""
    certificate = tls_directory(home) if config.listen else None
    host = config.listen or LOOPBACK
    return ServerSettings(directory=home, host=host, port=config.broker_port, certificate=certificate).url


def _check(host: str, port: int) -> None:
    """Raises: InvalidArgument if nothing can listen there."""
    try:
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        where = f"{host}:{port}" if port else host
        raise InvalidArgument(f"the broker cannot listen on {where}: {error.strerror}", HOW) from error


def certified(host: str) -> list[str]:
    """Return every address and name for which the broker's certificate has to be good."""
    name = socket.gethostname()
    names = ["localhost", name] if HOST_NAME.fullmatch(name) else ["localhost"]
    return list(dict.fromkeys([*addresses(host), LOOPBACK, "::1", *names]))


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if text.lower() == "localhost":
            return LOOPBACK
        if HOST_NAME.fullmatch(text):
            return text.lower()
        raise InvalidArgument(f"{shown(text)} is no address and no name of a machine", HOW) from None
