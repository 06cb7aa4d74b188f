"""Weft's settings: one frozen value, made from the environment at start."""

from __future__ import annotations

import secrets
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
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


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
    api_host: str = API_HOST  # API_HOST
    api_port: int | None = None  # API_PORT; None: 4280 or the next free one
    project: str = ""  # LOOMINAL_PROJECT_ID: meant where neither a request nor its bearer token names one
    log_level: str = "INFO"  # LOG_LEVEL
    timings: Timings = Timings()  # LOOMINAL_TIMINGS_SCALE: factor to all of them, for tests and the demo
    supervisor_pid: int | None = None  # LOOMINAL_SUPERVISOR: the process that `loominal up` started and that started us

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings in `environ`. Raises: InvalidArgument, listing every bad value."""
        problems: list[str] = []
        scale = _number(environ, "LOOMINAL_TIMINGS_SCALE", 0.001, 100.0, problems)
        port = _number(environ, "API_PORT", 1, 65535, problems)
        supervisor = _number(environ, "LOOMINAL_SUPERVISOR", 1, 1 << 32, problems)
        level = environ.get("LOG_LEVEL", "INFO").upper()
        if level not in LEVELS:
            problems.append(f"LOG_LEVEL={level!r} must be one of {', '.join(LEVELS)}")
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
            api_host=environ.get("API_HOST") or API_HOST,
            api_port=int(port) if port is not None else None,
            project=project,
            log_level=level,
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
