"""`weft token`: the bearer tokens of a fabric, by the keys that lie in its home; in open mode for weft's file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.keyring import Keyring
from loominal.fabric.hub.access.bearers import Bearers, is_good
from loominal.fabric.hub.access.fabric_book import FabricBook
from loominal.fabric.hub.access.fabric_records import Bearer
from loominal.fabric.runtime_file import Mode, read_runtime
from loominal.model.errors import Duplicate, Forbidden, InvalidArgument, NotFound
from loominal.model.grant import Role
from loominal.model.names import OWN_TOKEN, project_name, shown, token_name
from loominal.model.times import Instant, instant, rfc3339
from loominal.weft.api.tokens import hash_of, new_bearer_token
from loominal.weft.settings import Settings, broker_of, tls_of
from loominal.weft.weft_file import FILE, FiledToken, read_weft_file

T = TypeVar("T")

LONGEST = timedelta(days=3660)
NAME = "weft-token"  # as whom the commands connect
REGISTRY = "registry"  # where a token is kept, if not in the file


class TokenView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A bearer token in a list."""

    name: str
    role: Role
    source: str  # the registry, or the file that has it
    good: bool  # whether it may be used now
    projects: tuple[str, ...] = ()  # none: every one
    expires_at: Instant | None = None
    revoked_at: Instant | None = None


class Made(TokenView, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A new one, with its text, which nobody can be told again; in open mode with the lines for weft's file."""

    token: str
    toml: str = ""


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    """Every bearer token but the fabric's own."""

    tokens: list[TokenView]
    total: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A fabric as these commands find it: whose broker it is, and weft's file."""

    settings: Settings
    mode: Mode
    url: str
    file: Path
    filed: tuple[FiledToken, ...]

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> Place:
        """Return the place that the environment means. Raises: InvalidArgument if no fabric runs there."""
        settings = Settings.from_env(environ)
        mode, url = broker_of(settings, read_runtime(settings.home))
        file = settings.weft_config or settings.home / FILE
        read = read_weft_file(file, required=settings.weft_config is not None)
        return cls(settings=settings, mode=mode, url=url, file=file, filed=read.tokens)

    def has_filed(self, name: str) -> bool:
        """Return whether weft's file has a token of that name."""
        return any(each.shown_name == name for each in self.filed)

    def ask(self, question: Callable[[Bearers], Awaitable[T]]) -> T:
        """Return what the registry's tokens say to `question`. Raises: what it raises; BrokerUnavailable."""
        return asyncio.run(self._ask(question))

    async def _ask(self, question: Callable[[Bearers], Awaitable[T]]) -> T:
        keys = self.settings.home / "keys"
        if not keys.is_dir():
            raise InvalidArgument(f"there are no keys in {keys}", "run this in the home of a weft of that fabric")
        credential = Keyring.open(keys).hub_credential(subjects.FABRIC, NAME)
        runtime = read_runtime(self.settings.home)
        async with Broker.connect(
            self.url,
            name=NAME,
            inbox=subjects.reply_prefix(NAME),
            credential=lambda: credential,
            tls=tls_of(self.settings, runtime if runtime is not None and runtime.url == self.url else None),
        ) as broker:
            book = FabricBook(Bucket(broker, subjects.registry_bucket(subjects.FABRIC)))
            for entry in await book.bucket.entries("bearer"):
                book.apply(entry)
            return await question(Bearers(book))


@click.group(help="Make, list and revoke bearer tokens for the HTTP interface.\n\nExample: weft token list")
def token() -> None:
    """Group the commands."""


@token.command(
    help="Make a bearer token, and print it once: only its hash is kept.\n\n"
    "Example: weft token create ci --role agent --project shop --expires 30d"
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.AGENT.value,
    show_default=True,
    help="What it may do.",
)
@click.option("--project", "projects", multiple=True, metavar="P", help="A project it is for; default: every one.")
@click.option("--expires", default="90d", show_default=True, help="When it ends: a duration, or a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def create(
    environ: Mapping[str, str], name: str, role: str, projects: tuple[str, ...], expires: str, *, as_json: bool
) -> None:
    """Make one."""
    now, text = datetime.now(UTC), new_bearer_token()
    bearer = Bearer(
        name=_free_name(name),
        sha256=hash_of(text),
        role=Role(role),
        projects=tuple(dict.fromkeys(project_name(each) for each in projects)),
        created_at=now,
        expires_at=_end(expires, now),
    )
    place = Place.find(environ)
    if place.has_filed(name):
        raise Duplicate(f"{place.file} has a bearer token {name!r} already", "take another name")
    filed = place.mode is Mode.OPEN
    if not filed:
        place.ask(lambda bearers: bearers.create(bearer))
    made = _view(bearer, str(place.file) if filed else REGISTRY)
    lines = _lines(bearer) if filed else ""
    if as_json:
        _print(Made(token=text, toml=lines, **msgspec.structs.asdict(made)))
        return
    click.echo(text)
    click.echo(f"{_line(made)}\nThis is the only time that it is shown.", err=True)
    if filed:
        click.echo(f"It holds once these lines stand in {place.file} and weft was started anew:\n\n{lines}", err=True)


@token.command(name="list", help="List the bearer tokens, also those that ended.\n\nExample: weft token list --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_tokens(environ: Mapping[str, str], *, as_json: bool) -> None:
    """List them."""
    place = Place.find(environ)
    now = datetime.now(UTC)
    found = [
        TokenView(
            name=each.shown_name,
            role=each.role,
            source=str(place.file),
            good=each.expires_at is None or now < each.expires_at,
            projects=each.projects,
            expires_at=each.expires_at,
        )
        for each in place.filed
    ]
    if place.mode is not Mode.OPEN:
        found += [_view(each, REGISTRY) for each in place.ask(_all)]
    if as_json:
        _print(TokenList(tokens=found, total=len(found)))
        return
    for each in found:
        click.echo(_line(each))


@token.command(help="Revoke a bearer token; it ends at once, on every weft.\n\nExample: weft token revoke ci")
@click.argument("name")
@click.pass_obj
def revoke(environ: Mapping[str, str], name: str) -> None:
    """Revoke one."""
    place = Place.find(environ)
    if name == OWN_TOKEN:
        raise Forbidden(
            "the fabric's own bearer token is not revoked",
            f"remove {place.settings.home / 'api.token'}: weft's next start makes another",
        )
    if place.has_filed(name):
        raise Forbidden(f"the bearer token {name!r} stands in {place.file}", "take it out there, and start weft anew")
    if place.mode is Mode.OPEN:
        raise NotFound(f"{place.file} has no bearer token {shown(name)}", "`weft token list` shows those it has")
    revoked = place.ask(lambda bearers: bearers.revoke(name))
    click.echo(_line(_view(revoked, REGISTRY)), err=True)


async def _all(bearers: Bearers) -> list[Bearer]:
    return bearers.all()


def _free_name(name: str) -> str:
    if name == OWN_TOKEN:
        raise InvalidArgument(f"{OWN_TOKEN!r} is the fabric's own bearer token", "take another name")
    return token_name(name)


def _end(expires: str, now: datetime) -> datetime:
    end = instant(expires, now, past=False)
    if not now < end <= now + LONGEST:
        raise InvalidArgument(f"--expires {expires!r} must be after now, and within {LONGEST.days} days", "try 90d")
    return end.replace(microsecond=0)


def _view(bearer: Bearer, source: str) -> TokenView:
    return TokenView(
        name=bearer.name,
        role=bearer.role,
        source=source,
        good=is_good(bearer, datetime.now(UTC)),
        projects=bearer.projects,
        expires_at=bearer.expires_at,
        revoked_at=bearer.revoked_at,
    )


def _line(each: TokenView) -> str:
    """Return a token on one line."""
    parts = [each.name, f"role {each.role}", f"projects {', '.join(each.projects) or 'all'}"]
    if each.revoked_at:
        parts.append(f"revoked {each.revoked_at:%Y-%m-%d %H:%M} UTC")
    elif each.expires_at:
        parts.append(f"{'until' if each.good else 'ended'} {each.expires_at:%Y-%m-%d %H:%M} UTC")
    return "  ".join([*parts, *([] if each.source == REGISTRY else [f"in {each.source}"])])


def _lines(bearer: Bearer) -> str:
    """Return what weft's file has to hold for a token."""
    projects = ", ".join(f'"{each}"' for each in bearer.projects)
    return (
        f'[[tokens]]\nname = "{bearer.name}"\nsha256 = "{bearer.sha256}"\nrole = "{bearer.role}"\n'
        f"projects = [{projects}]\nexpiresAt = {rfc3339(bearer.expires_at)}\n"
    )


def _print(value: msgspec.Struct) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)))
