"""Weft's settings: one frozen value, made from the environment at start."""

from __future__ import annotations

import ipaddress
import re
import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from loominal.fabric.hub.timings import Timings
from loominal.fabric.runtime_file import Mode, Runtime
from loominal.fabric.state_directory import home_directory
from loominal.model.errors import InvalidArgument
from loominal.model.names import PROJECT_NAME, SUBJECT_TOKEN

API_HOST = "127.0.0.1"
API_PORT = 4280
API_RATE = 1000.0  # one client that asks as fast as it is answered is slower than that
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how weft serves HTTP."""

    host: str = API_HOST  # API_HOST
    port: int | None = None  # API_PORT; None: 4280 or the next free one
    hosts: tuple[str, ...] = ()  # API_HOSTS, with commas: names by which it is reached beside API_HOST and loopback's
    rate: float = API_RATE  # API_RATE: requests a second of one bearer token; for a moment twice as many
    certificate: Path | None = None  # API_TLS_CERT: PEM, with its chain
    key: Path | None = None  # API_TLS_KEY
    insecure: bool = False  # API_INSECURE=1: bearer tokens may cross a network in plain text

    @classmethod
    def from_env(cls, environ: Mapping[str, str], problems: list[str]) -> HttpSettings:
        """Return the settings in `environ`; what is wrong with them is added to `problems`."""
        port = _number(environ, "API_PORT", 1, 65535, problems)
        rate = _number(environ, "API_RATE", 1, 1_000_000, problems)
        hosts = tuple(each.strip().strip("[]") for each in environ.get("API_HOSTS", "").split(",") if each.strip())
        if wrong := [each for each in hosts if not (HOST_NAME.fullmatch(each) or _address(each))]:
            problems.append(f"API_HOSTS: {', '.join(map(repr, wrong))} must be names or addresses, without a port")
        if (insecure := environ.get("API_INSECURE", "")) not in ("", "0", "1"):
            problems.append(f"API_INSECURE={insecure!r} must be 1 or 0")
        if bool(environ.get("API_TLS_CERT")) != bool(environ.get("API_TLS_KEY")):
            problems.append("API_TLS_CERT and API_TLS_KEY belong together")
        made = cls(
            host=environ.get("API_HOST") or API_HOST,
            port=int(port) if port is not None else None,
            hosts=hosts,
            rate=rate if rate is not None else API_RATE,
            certificate=_path(environ, "API_TLS_CERT"),
            key=_path(environ, "API_TLS_KEY"),
            insecure=insecure == "1",
        )
        if not (made.on_loopback or made.certificate or made.insecure):
            problems.append(
                f"API_HOST={made.host!r} is reached from other machines, and bearer tokens would come in plain text: "
                "set API_TLS_CERT and API_TLS_KEY, or API_INSECURE=1 where something else protects them"
            )
        return made

    @property
    def on_loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        address = _address(self.host)
        return self.host == "localhost" if address is None else address.is_loopback


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that weft is told from outside."""

    home: Path  # LOOMINAL_HOME, default ~/.local/state/loominal
    nats_url: str  # NATS_URL (several: with commas), default: what the runtime file says
    mode: Mode | None = None  # LOOMINAL_MODE, for the broker at NATS_URL: `external` or `open`; see `broker_of`
    nats_creds: Path | None = None  # NATS_CREDS
    nats_user: str = ""  # NATS_USER
    nats_password: str = ""  # NATS_PASS
    nats_ca: Path | None = None  # NATS_CA
    weft_id: str = ""  # LOOMINAL_WEFT_ID: what other wefts and the logs call this process; one of its own by default
    http: HttpSettings = HttpSettings()
    weft_config: Path | None = (
        None  # LOOMINAL_WEFT_CONFIG, weft's own file; None: weft.toml in the home, if it is there
    )
    project: str = ""  # LOOMINAL_PROJECT_ID: meant where neither a request nor its bearer token names one
    log_level: str = "INFO"  # LOG_LEVEL
    log_format: str = "text"  # LOG_FORMAT: `text`, or `json`: one object a line
    timings: Timings = Timings()  # LOOMINAL_TIMINGS_SCALE: factor to all of them, for tests and the demo
    supervisor_pid: int | None = None  # LOOMINAL_SUPERVISOR: the process that `loominal up` started and that started us

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings in `environ`. Raises: InvalidArgument, listing every bad value."""
        problems: list[str] = []
        scale = _number(environ, "LOOMINAL_TIMINGS_SCALE", 0.001, 100.0, problems)
        http = HttpSettings.from_env(environ, problems)
        supervisor = _number(environ, "LOOMINAL_SUPERVISOR", 1, 1 << 32, problems)
        level = environ.get("LOG_LEVEL", "INFO").upper()
        if level not in LEVELS:
            problems.append(f"LOG_LEVEL={level!r} must be one of {', '.join(LEVELS)}")
        log_format = environ.get("LOG_FORMAT", "text").lower()
        if log_format not in FORMATS:
            problems.append(f"LOG_FORMAT={log_format!r} must be one of {', '.join(FORMATS)}")
        weft_id = environ.get("LOOMINAL_WEFT_ID") or f"weft-{secrets.token_hex(6)}"
        if not SUBJECT_TOKEN.fullmatch(weft_id):
            problems.append(f"LOOMINAL_WEFT_ID={weft_id!r} must be 1-64 letters, digits, '_' or '-'")
        project = environ.get("LOOMINAL_PROJECT_ID", "")
        if project and not PROJECT_NAME.fullmatch(project):
            problems.append(f"LOOMINAL_PROJECT_ID={project!r} must be 1-63 of a-z, 0-9 and '-'")
        mode = environ.get("LOOMINAL_MODE", "")
        if mode not in ("", Mode.EXTERNAL, Mode.OPEN):
            problems.append(f"LOOMINAL_MODE={mode!r} must be {Mode.EXTERNAL} or {Mode.OPEN}")
        elif mode and not environ.get("NATS_URL"):
            problems.append(f"LOOMINAL_MODE={mode} needs NATS_URL")
        if problems:
            raise InvalidArgument("; ".join(problems))
        return cls(
            home=home_directory(environ),
            nats_url=environ.get("NATS_URL", ""),
            mode=Mode(mode) if mode else None,
            nats_creds=_path(environ, "NATS_CREDS"),
            nats_user=environ.get("NATS_USER", ""),
            nats_password=environ.get("NATS_PASS", ""),
            nats_ca=_path(environ, "NATS_CA"),
            weft_id=weft_id,
            http=http,
            weft_config=_path(environ, "LOOMINAL_WEFT_CONFIG"),
            project=project,
            log_level=level,
            log_format=log_format,
            timings=Timings().scaled(scale) if scale is not None else Timings(),
            supervisor_pid=int(supervisor) if supervisor is not None else None,
        )


def broker_of(settings: Settings, runtime: Runtime | None) -> tuple[Mode, str]:
    """Return whose broker weft serves, and where it is.

    `external` is only ever meant by somebody who said so: a broker that looks like ours but is not would be trusted
    with nothing, but an operator's weft that went on in open mode would trust everybody.
    Raises: InvalidArgument if there is no broker.
    """
    if settings.mode is not None:
        return settings.mode, settings.nats_url
    if runtime is not None and runtime.mode is Mode.JOINED and settings.nats_url in ("", runtime.url):
        raise InvalidArgument(
            f"{settings.home} has joined the fabric at {runtime.url}, whose weft runs elsewhere",
            "another LOOMINAL_HOME can have a fabric of its own",
        )
    if runtime is not None and settings.nats_url in ("", runtime.url):
        return runtime.mode, runtime.url
    if settings.nats_url:
        return Mode.OPEN, settings.nats_url
    raise InvalidArgument(
        f"no broker: NATS_URL is not set and no fabric runs in {settings.home}", "`loominal up` starts one"
    )


def tls_of(settings: Settings, runtime: Runtime | None) -> ssl.SSLContext | None:
    """Return the context for the broker, if it is one of TLS; `runtime` is that of the same broker."""
    ca = settings.nats_ca or (runtime.ca if runtime is not None else "")
    try:
        return ssl.create_default_context(cafile=ca) if ca else None
    except OSError as error:
        raise InvalidArgument(f"cannot use the certificates in {ca}: {error}", "check NATS_CA") from error


def _number(environ: Mapping[str, str], name: str, least: float, most: float, problems: list[str]) -> float | None:
    text = environ.get(name, "")
    if not text:
        return None
    try:
        value = float(text) if name.endswith("SCALE") else int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        problems.append(f"{name}={text!r} must be a number from {least:g} to {most:g}")
    return value


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name]) if environ.get(name) else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
