"""What a client needs to know before it can connect: one value, from arguments and the environment."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from loominal.broker.secret_file import read_secret
from loominal.fabric.invitation import Token
from loominal.fabric.project_id import VARIABLE, ProjectName, find_project
from loominal.fabric.protocol import GIVE_UP_SECONDS
from loominal.fabric.state_directory import home_directory
from loominal.model import names
from loominal.model.errors import InvalidArgument

CALL_SECONDS = 60.0  # how long a call is repeated before its error is raised: a restart of hub or broker fits in
ENROLMENT = "LOOMINAL_ENROLMENT"
OF_AN_AGENT = (ENROLMENT, "LOOMINAL_ATTACH", "LOOMINAL_AGENT_ID", "LOOMINAL_HANDLE")
ENROLMENT_BYTES = 64_000  # of its text
SCHEMES = ("nats", "tls")
PORT = 4222

T = TypeVar("T")


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Where a foreign broker is; user and password as the URL had them, which does not have them any more."""

    urls: tuple[str, ...] = ()
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Servers({', '.join(self.urls)})"


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's connection. Each field with its argument of `connect` and its variable; texts are "" when unset."""

    home: Path  # home, LOOMINAL_HOME
    servers: Servers  # url, NATS_URL (several: with commas), NATS_USER, NATS_PASS; none: the local fabric's
    credential_file: Path | None  # NATS_CREDS
    ca_file: Path | None  # NATS_CA: certificates that the broker must be signed by; then nothing goes in plain text
    project: ProjectName  # project, LOOMINAL_PROJECT_ID, else the directory's (MCP_PROJECT_PATH, else the present one)
    agent_id: str  # agent_id, LOOMINAL_AGENT_ID: a UUID
    handle: str  # handle, LOOMINAL_HANDLE
    client: str  # which program it is; slots, default handles and default agent types are named after it
    person: bool = False
    sole: bool = False  # the client has one agent in the project: a second process of it is Busy
    operator: bool = False  # ask for an operator's rights, which this machine may or may not have
    looks: bool = False  # only if the project is there; otherwise it is made
    session: str = ""  # of the client, where that tells; its agent is the same again in the same session
    adopts: bool = False  # hold from the beginning what the agent held in its process before
    attach: Path | None = None  # LOOMINAL_ATTACH: the socket of the process that is this agent already
    enrolment: Token | None = None  # enrolment, LOOMINAL_ENROLMENT: tells broker, project and agent id of a launch
    timeout_seconds: float = CALL_SECONDS  # of each call, beside its own waiting
    limit_bytes: int = 0  # the longest answer wanted; 0: whatever the broker carries

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str],
        *,
        handle: str | None = None,
        project: str | None = None,
        home: Path | str | None = None,
        url: str | None = None,
        agent_id: str | None = None,
        enrolment: str | None = None,
        client: str = "python",
        person: bool = False,
        operator: bool = False,
        directory: Path | str | None = None,
        timeout_seconds: float = CALL_SECONDS,
    ) -> Self:
        """Return the settings; an argument goes before its variable, and an empty variable is none.

        A `person` is no agent that a variable names; who names another agent is not attached.
        Raises: InvalidArgument that lists everything that is wrong, UpgradeNeeded.
        """
        problems = _Problems()
        environ = _of_a_person(environ) if person else environ
        another = any((project, home, url, agent_id, enrolment))
        attach = "" if another else environ.get("LOOMINAL_ATTACH", "")
        launched = problems.of(ENROLMENT, None, lambda: _enrolment(enrolment or environ.get(ENROLMENT, "")))
        place = Path(directory or environ.get("MCP_PROJECT_PATH") or "")
        found = problems.of("project", None, lambda: _project(place, project, environ.get(VARIABLE, ""), launched))
        servers = problems.of("NATS_URL", None, lambda: servers_in(url or environ.get("NATS_URL", ""), environ))
        wanted = problems.of("handle", "", lambda: _handle(handle or environ.get("LOOMINAL_HANDLE", "")))
        given = problems.of("agent id", "", lambda: _uuid(agent_id or environ.get("LOOMINAL_AGENT_ID", "")))
        with problems.noted("timeout_seconds"):
            _between(timeout_seconds, 0.1, GIVE_UP_SECONDS)
        settings = cls(
            home=Path(home).expanduser().absolute() if home else home_directory(environ),
            servers=servers or Servers(),
            credential_file=problems.file(environ, "NATS_CREDS"),
            ca_file=problems.file(environ, "NATS_CA"),
            project=found or ProjectName(id="", title="", why=""),
            agent_id=launched.agent if launched else given,
            handle=wanted,
            client=names.handle_like(client),
            person=person,
            operator=operator,
            attach=Path(attach).expanduser().absolute() if attach else None,
            enrolment=launched,
            timeout_seconds=timeout_seconds,
        )
        problems.raise_any()
        return settings


class _Problems:
    """Everything that is wrong with the settings, to be said at once."""

    def __init__(self) -> None:
        self._found: list[InvalidArgument] = []

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except InvalidArgument as error:
            self._note(what, error)

    def of(self, what: str, otherwise: T, value: Callable[[], T]) -> T:
        """Return the value, or `otherwise` if there is a problem with it."""
        try:
            return value()
        except InvalidArgument as error:
            self._note(what, error)
            return otherwise

    def file(self, environ: Mapping[str, str], variable: str) -> Path | None:
        if not (text := environ.get(variable, "")):
            return None
        path = Path(text).expanduser().absolute()
        with self.noted(variable):
            if not path.is_file():
                raise InvalidArgument(f"there is no file {path}")
        return path

    def _note(self, what: str, error: InvalidArgument) -> None:
        self._found.append(InvalidArgument(f"{what}: {error.message}", error.hint))

    def raise_any(self) -> None:
        if self._found:
            hints = [error.hint for error in self._found if error.hint]
            raise InvalidArgument("; ".join(error.message for error in self._found), "; ".join(hints))


def servers_in(text: str, environ: Mapping[str, str]) -> Servers:
    """Return the brokers that `text` lists. Raises: InvalidArgument; no password is repeated in it."""
    user, password = environ.get("NATS_USER", ""), environ.get("NATS_PASS", "")
    urls: list[str] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            url = urlsplit(part if "://" in part else f"nats://{part}")
            host, port = url.hostname or "", url.port or PORT
        except ValueError as error:
            raise InvalidArgument(f"an address is malformed: {error}", "write nats://HOST:PORT") from error
        if url.scheme not in SCHEMES or not host or url.path.strip("/") or url.query:
            raise InvalidArgument("an address must be nats://HOST:PORT or tls://HOST:PORT")
        user, password = user or unquote(url.username or ""), password or unquote(url.password or "")
        urls.append(f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    if user and not password:
        raise InvalidArgument("a user without a password", "set NATS_PASS, or NATS_CREDS to a credential file")
    return Servers(urls=tuple(urls), user=user, password=password)


def _of_a_person(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that say which agent a process is."""
    return {name: value for name, value in environ.items() if name not in OF_AN_AGENT}


def _enrolment(text: str) -> Token | None:
    """Return the token that `text` is, or names: `@FILE`, or `-` for the first line of stdin. Raises: as `Token`."""
    if text == "-":
        text = _first_line(0)
        if not text:
            raise InvalidArgument("stdin has no first line", "whoever launches the agent writes its enrolment there")
    elif text.startswith("@"):
        path = Path(text[1:]).expanduser()
        found = read_secret(path)
        if found is None:
            raise InvalidArgument(f"there is no file {path}")
        text = found
    return Token.enrolment(text) if text.strip() else None


def _project(place: Path, name: str | None, variable: str, launched: Token | None) -> ProjectName:
    """Return the project; an agent's enrolment fixes it. Raises: InvalidArgument."""
    found = find_project(place, name=name or "", variable=variable)
    if launched is None or found.id == launched.project:
        return found
    if name:
        raise InvalidArgument(f"this agent was launched into project {launched.project}", "leave project out")
    return ProjectName(id=launched.project, title=launched.project, why=f"{ENROLMENT} says so")


def _first_line(file: int) -> str:
    """Return the line, read byte by byte: what follows it is for others."""
    line = b""
    while (byte := os.read(file, 1)) not in (b"", b"\n") and len(line) < ENROLMENT_BYTES:
        line += byte
    return line.decode(errors="replace")


def _handle(text: str) -> str:
    return text and names.handle(text)


def _uuid(text: str) -> str:
    try:
        return text and str(uuid.UUID(text))
    except ValueError as error:
        raise InvalidArgument(f"{names.shown(text)} is no UUID", "leave it out to get one") from error


def _between(value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"{value:g} is not between {least:g} and {most:g}")
