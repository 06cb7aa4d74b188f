"""The way into a fabric: an enrolment, the local one's runtime file, or a foreign broker's URL. For `connect`."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from loominal.broker.credentials import Credential
from loominal.broker.nkeys import KeyPair
from loominal.fabric.client.settings import ClientSettings, Servers
from loominal.fabric.invitation import Token
from loominal.fabric.runtime_file import Mode, Runtime, machine_credential_path, read_runtime
from loominal.model.errors import BrokerUnavailable, InvalidArgument

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and with what; where `enrols`, the credential is the machine's and only good for enrolling."""

    servers: Servers
    enrols: bool
    credential: Credential | None = None
    tls: ssl.SSLContext | None = None


def find_entrance(settings: ClientSettings) -> Entrance:
    """Return the way in.

    Raises: BrokerUnavailable if no fabric runs here and no other was named, InvalidArgument if a file that belongs to
    the way in cannot be used.
    """
    if settings.enrolment is not None:
        return _by_enrolment(settings.enrolment)
    runtime = read_runtime(settings.home)
    named = settings.servers.urls
    if runtime is None and not named:
        raise BrokerUnavailable("no fabric is running", "`loominal up` starts one")
    local = runtime is not None and (not named or _same(named, _urls(runtime)))
    own = settings.credential_file or settings.servers.user
    if runtime is not None and local and runtime.mode is not Mode.OPEN and not own:
        return _by_this_machine(runtime, settings)
    servers = settings.servers
    if runtime is not None and not named:
        servers = msgspec.structs.replace(servers, urls=_urls(runtime))
    ca_file = settings.ca_file or (Path(runtime.ca) if runtime is not None and local and runtime.ca else None)
    credential = Credential.read(settings.credential_file) if settings.credential_file else None
    enrols = credential is not None and credential.enrols
    return Entrance(servers=servers, enrols=enrols, credential=credential, tls=_tls(servers, ca_file))


def _by_this_machine(runtime: Runtime, settings: ClientSettings) -> Entrance:
    servers = Servers(urls=_urls(runtime))
    ca_file = settings.ca_file or (Path(runtime.ca) if runtime.ca else None)
    credential = Credential.read(machine_credential_path(settings.home))
    return Entrance(servers=servers, enrols=True, credential=credential, tls=_tls(servers, ca_file))


def _by_enrolment(token: Token) -> Entrance:
    servers = Servers(urls=token.urls)
    credential = Credential(jwt=token.jwt, key=KeyPair.from_seed(token.seed))
    try:
        tls = ssl.create_default_context(cadata=token.ca) if token.ca else _tls(servers, None)
    except ssl.SSLError as error:
        raise InvalidArgument("the enrolment's certificate cannot be used", "launch again") from error
    return Entrance(servers=servers, enrols=True, credential=credential, tls=tls)


def _tls(servers: Servers, ca_file: Path | None) -> ssl.SSLContext | None:
    """Return the context, if any of these asks for TLS; with one, nothing is ever sent in plain text."""
    if ca_file is None and not any(urlsplit(url).scheme == "tls" for url in servers.urls):
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidArgument(f"cannot use the certificates in {ca_file}: {error}", "check NATS_CA") from error


def _urls(runtime: Runtime) -> tuple[str, ...]:
    return tuple(runtime.url.split(","))


def _same(named: tuple[str, ...], local: tuple[str, ...]) -> bool:
    return {_place(url) for url in named} <= {_place(url) for url in local}


def _place(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return ("localhost" if host in LOOPBACK else host, parts.port)
