"""Starting the fabric at login: a unit of systemd's user manager, or an agent of launchd. `up` and `down` call it."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from loominal.fabric.state_directory import home_directory
from loominal.local.home import weft_variables
from loominal.model.errors import InvalidArgument, LoominalError, NotFound

LABEL = "loominal"
MANAGER_SECONDS = 30.0
KEPT = ("PATH", "PYTHONPATH")  # of the environment, in the unit


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What starts the fabric at login: a file, and what the system's manager is told when it comes and goes."""

    file: Path
    text: str
    program: str  # the manager's
    on: tuple[tuple[str, ...], ...]
    off: tuple[tuple[str, ...], ...]
    gone: tuple[tuple[str, ...], ...] = ()  # once the file is
    again: tuple[tuple[str, ...], ...] = ()  # before `on`, if the file was there
    note: str = ""  # what a person may want to know


def service(environ: Mapping[str, str], platform: str = sys.platform) -> Service:
    """Return the service of this system. Raises: InvalidArgument where the fabric is not one of our own."""
    if environ.get("NATS_URL") or environ.get("LOOMINAL_MODE"):
        raise InvalidArgument(
            "--at-login starts a fabric of your own, but NATS_URL or LOOMINAL_MODE names somebody else's broker",
            "unset them, or write a service that runs `loominal up` with them",
        )
    home = home_directory(environ)
    kept = {"LOOMINAL_HOME": str(home)} | {name: environ[name] for name in KEPT if environ.get(name)}
    kept |= weft_variables(environ)
    for text in (sys.executable, *kept.values()):
        _check_printable(text)
    user = Path(environ.get("HOME") or Path.home())
    if platform == "darwin":
        return _launchd(user, home, kept)
    configuration = Path(environ.get("XDG_CONFIG_HOME", ""))
    return _systemd(configuration if configuration.is_absolute() else user / ".config", home, kept)


def switch_on(wanted: Service) -> None:
    """Write the file and let the manager start the fabric, now and at each login. Raises: NotFound, LoominalError."""
    program = _manager(wanted)
    first = () if not wanted.file.exists() else wanted.again
    try:
        wanted.file.parent.mkdir(parents=True, exist_ok=True)
        wanted.file.write_text(wanted.text, "utf-8")
    except OSError as error:
        raise InvalidArgument(f"cannot write {wanted.file}: {error.strerror}", "check the folder's owner") from error
    for arguments in (*first, *wanted.on):
        _tell(program, arguments)


def switch_off(known: Service) -> bool:
    """Undo `switch_on`, which ends the fabric if the manager runs it; return whether there was anything to undo."""
    if not known.file.exists():
        return False
    program = _manager(known)
    for arguments in known.off:
        _tell(program, arguments)
    known.file.unlink(missing_ok=True)
    for arguments in known.gone:
        _tell(program, arguments)
    return True


def shown(service: Service) -> str:
    """Return what `switch_on` would do."""
    commands = [f"{service.program} {' '.join(arguments)}" for arguments in service.on]
    return "\n".join([f"would write {service.file}:", "", service.text, "and run:", *commands])


def _systemd(configuration: Path, home: Path, kept: Mapping[str, str]) -> Service:
    """Source: systemd.unit(5), systemd.service(5), systemd.exec(5)."""
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in kept.items())
    text = f"""\
[Unit]
Description=Loominal, the fabric between this user's coding agents ({_escaped(str(home))})

[Service]
ExecStart={_quoted(sys.executable)} -m loominal up
{environment}Restart=on-failure
RestartSec=5
TimeoutStopSec=30
KillMode=mixed

[Install]
WantedBy=default.target
"""
    return Service(
        file=configuration / "systemd" / "user" / f"{LABEL}.service",
        text=text,
        program="systemctl",
        on=(("--user", "daemon-reload"), ("--user", "enable", "--now", f"{LABEL}.service")),
        off=(("--user", "disable", "--now", f"{LABEL}.service"),),
        gone=(("--user", "daemon-reload"),),
        note="it ends when you log out; `loginctl enable-linger` lets it stay",
    )


def _launchd(user: Path, home: Path, kept: Mapping[str, str]) -> Service:
    """Source: launchd.plist(5), launchctl(1)."""
    file = user / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    settings = {
        "Label": LABEL,
        "ProgramArguments": [sys.executable, "-m", "loominal", "up"],
        "EnvironmentVariables": dict(kept),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "StandardErrorPath": str(home / "logs" / "supervisor.log"),
        "ExitTimeOut": 30,
    }
    domain = f"gui/{os.getuid()}"
    return Service(
        file=file,
        text=plistlib.dumps(settings).decode(),
        program="launchctl",
        on=(("bootstrap", domain, str(file)),),
        off=(("bootout", f"{domain}/{LABEL}"),),
        again=(("bootout", f"{domain}/{LABEL}"),),
    )


def _manager(service: Service) -> str:
    found = shutil.which(service.program)
    if found is None:
        raise NotFound(
            f"there is no {service.program} here, which starts services at login",
            "`loominal up --at-login --dry-run` shows what any other manager needs to know",
        )
    return found


def _tell(program: str, arguments: tuple[str, ...]) -> None:
    """Raises: LoominalError with what the manager said."""
    try:
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=MANAGER_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoominalError(f"{program} {' '.join(arguments)}: {error}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise LoominalError(
            f"{program} {' '.join(arguments)}: {words[-1] if words else f'exit code {done.returncode}'}",
            "a user service needs a login session; `--dry-run` shows the unit",
        )


def _quoted(text: str) -> str:
    """Return `text` as one word of a unit: quotes, backslashes and `%` stand for themselves.

    `$` does anyway, in what is assigned and in a command's first word, which is all that we write.
    """
    safe = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{safe}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _check_printable(text: str) -> None:
    """Raises: InvalidArgument for what would end a line of a unit, or cannot stand in a plist."""
    if not text.isprintable():
        raise InvalidArgument(f"{text!r} cannot stand in a unit", "use a path without control characters")
