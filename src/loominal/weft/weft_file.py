"""Weft's own file, `weft.toml`: what the machine's owner alone may say. Read once, at weft's start."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from loominal.model import names
from loominal.model.errors import InvalidArgument, LoominalError
from loominal.model.grant import CORPORATE, Role
from loominal.model.mechanism import Mechanism
from loominal.model.mistakes import mistakes
from loominal.model.policy import (
    DEFAULT_POLICY,
    HAND_BACK_SECONDS,
    OPEN_POLICY,
    STALLED_SECONDS,
    Policy,
    Rule,
    checked,
)
from loominal.model.target import HealthCheck as ModelCheck
from loominal.model.target import Target
from loominal.model.target import checked as checked_target
from loominal.model.times import Instant
from loominal.weft.api.tokens import Identity

FILE = "weft.toml"
MOST_BYTES = 1 << 20
NAMED_BY = 12  # digits of its hash by which a bearer token without a name is called
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

T = TypeVar("T")
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400 * 30)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A table of the file."""


class Allow(_Table, frozen=True, kw_only=True):
    """What this weft may do at all, whoever asks for it."""

    mechanisms: tuple[Mechanism, ...] = ()
    env: tuple[Name, ...] = ()  # names of its own environment that a target may use
    identity_files: tuple[Text, ...] = ()
    kubeconfigs: tuple[Text, ...] = ()
    hosts: dict[str, tuple[Name, ...]] = {}  # name of a token's variable -> hosts that it may be sent to
    private_networks: bool = False


class FiledToken(_Table, frozen=True, kw_only=True):
    """A bearer token; the file has its hash alone."""

    sha256: Hash
    role: Role
    name: str = ""
    projects: tuple[str, ...] = ()  # none: every one
    expires_at: Instant | None = None

    @property
    def shown_name(self) -> str:
        """What it is called, also if the file does not say."""
        return self.name or self.sha256[:NAMED_BY]

    def identity(self) -> Identity:
        """Return who holds it."""
        return Identity(
            name=self.shown_name,
            role=self.role,
            projects=self.projects,
            sha256=self.sha256,
            expires_at=self.expires_at,
        )


class FiledRule(_Table, frozen=True, kw_only=True):
    """Who may take the work of one boundary; an empty list means any."""

    agent_types: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    spin_up: bool = True
    targets: tuple[str, ...] = ()


class FiledPolicy(_Table, frozen=True, kw_only=True):
    """What holds in projects where nobody has set a policy; in open mode: in all."""

    boundaries: dict[str, FiledRule] = {}
    cross_project: bool = True
    stalled_seconds: float = STALLED_SECONDS
    hand_back_seconds: float = HAND_BACK_SECONDS

    def policy(self, default: Policy = DEFAULT_POLICY) -> Policy:
        """Return it as projects have it, without boundaries of its own with those of `default`.

        Raises: InvalidArgument, TooLarge.
        """
        rules = {name: msgspec.convert(rule, Rule, from_attributes=True) for name, rule in self.boundaries.items()}
        return checked(
            Policy(
                boundaries=rules or default.boundaries,
                cross_project=self.cross_project,
                stalled_seconds=self.stalled_seconds,
                hand_back_seconds=self.hand_back_seconds,
            )
        )


class HealthCheck(_Table, frozen=True, kw_only=True):
    """How often a target is looked at."""

    enabled: bool = False
    interval_seconds: Seconds = 300
    timeout_seconds: Seconds = 10


class FiledTarget(_Table, frozen=True, kw_only=True):
    """A place where agents can be started."""

    name: Name
    agent_type: Name
    capabilities: tuple[Name, ...]
    boundaries: tuple[Name, ...]
    mechanism: Mechanism
    config: dict[str, Any]  # Any: each mechanism has a type of its own
    description: Text = ""
    max_concurrent: Count = 1
    cooldown_seconds: Seconds = 30
    idle_seconds: Seconds = 300
    boot_timeout_seconds: Seconds = 120
    health_check: HealthCheck = HealthCheck()
    tags: tuple[Name, ...] = ()

    def made(self, now: datetime) -> Target:
        """Return it as projects have it. Raises: InvalidArgument with the field that is wrong."""
        fields = {
            name: getattr(self, name) for name in self.__struct_fields__ if name not in ("config", "health_check")
        }
        check = ModelCheck(
            enabled=self.health_check.enabled,
            interval_seconds=self.health_check.interval_seconds,
            timeout_seconds=self.health_check.timeout_seconds,
        )
        config = msgspec.Raw(msgspec.json.encode(self.config))
        mark = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        return checked_target(
            Target(id=f"t_f{mark}", config=config, health_check=check, created_at=now, updated_at=now, **fields)
        )


class WeftFile(_Table, frozen=True, kw_only=True):
    """The whole file."""

    allow: Allow | None = None  # None: what the kind of fabric allows by itself
    tokens: tuple[FiledToken, ...] = ()
    policy: FiledPolicy | None = None
    targets: tuple[FiledTarget, ...] = ()

    def made_targets(self, now: datetime) -> tuple[Target, ...]:
        """Return the targets as projects have them. Raises: InvalidArgument."""
        return tuple(each.made(now) for each in self.targets)

    def identities(self) -> list[Identity]:
        """Return who holds the bearer tokens."""
        return [token.identity() for token in self.tokens]

    def default_policy(self, *, open_mode: bool) -> Policy:
        """Return the policy of projects in which nobody has set one; in open mode that of all.

        Raises: InvalidArgument if it names `corporate` in open mode, where nobody can be granted it; TooLarge.
        """
        default = OPEN_POLICY if open_mode else DEFAULT_POLICY
        policy = default if self.policy is None else self.policy.policy(default)
        if open_mode and CORPORATE in policy.boundaries:
            raise InvalidArgument(
                f"weft's file has a policy for {CORPORATE!r}, which nobody can be granted in open mode", "leave it out"
            )
        return policy


def read_weft_file(path: Path, *, required: bool = False) -> WeftFile:
    """Return what the file says; nothing if there is none and none is `required`.

    Raises: InvalidArgument, listing every mistake; also if others than its owner may write it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = tomllib.loads(file.read(MOST_BYTES).decode())
    except FileNotFoundError as error:
        if required:
            raise InvalidArgument(f"there is no file {path}", "LOOMINAL_WEFT_CONFIG names it") from error
        return WeftFile()
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path} cannot be read: {error}", "it has to be TOML in UTF-8") from error
    if mode & OTHERS_WRITE:
        raise InvalidArgument(f"{path} may be written by others (mode {mode:o})", f"chmod go-w {path}")
    found = [str(each) for each in mistakes(WeftFile, data, "")]
    read = WeftFile() if found else msgspec.convert(data, WeftFile)
    if found := found or list(_untrue(read)):
        raise InvalidArgument(f"{path} has mistakes: {'; '.join(found)}", "nothing of it was used")
    return read


def _untrue(read: WeftFile) -> Iterator[str]:
    """Yield what is wrong although each value is of its type."""
    for index, token in enumerate(read.tokens):
        place = f"tokens[{index}]"
        yield from _refused(f"{place}.name", token.shown_name, names.token_name)
        if token.name == names.OWN_TOKEN:
            yield f"{place}.name: {names.OWN_TOKEN!r} is the fabric's own bearer token"
        for number, project in enumerate(token.projects):
            yield from _refused(f"{place}.projects[{number}]", project, names.project_name)
    yield from _twice("tokens", "name", (token.shown_name for token in read.tokens))
    yield from _twice("tokens", "sha256", (token.sha256 for token in read.tokens))
    yield from _twice("targets", "name", (target.name for target in read.targets))
    for number, target in enumerate(read.targets):
        yield from _refused(f"targets[{number}]", target, lambda each: each.made(datetime.now(UTC)))
    if read.policy is not None:
        yield from _refused("policy", read.policy, lambda policy: policy.policy())


def _refused(place: str, value: T, check: Callable[[T], object]) -> Iterator[str]:
    try:
        check(value)
    except LoominalError as error:
        yield f"{place}: {error.message}"


def _twice(table: str, key: str, values: Iterable[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{table}: {count} have the {key} {names.shown(value)}"
