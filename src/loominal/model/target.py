"""Targets: places where agents can be started, and by which mechanism. Set by operators, kept by the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from loominal.model import names
from loominal.model.errors import InvalidArgument
from loominal.model.mechanism import Config, Mechanism, checked_config, config_faults
from loominal.model.mistakes import Mistake
from loominal.model.record import version
from loominal.model.times import Instant

TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")  # one line, no option of any program, one token of a subject
MOST_LABELS = 64  # capabilities, boundaries or tags of one target
MOST_CONCURRENT = 1000
LONGEST_SECONDS = 30 * 86_400.0
SHORTEST_CHECK_SECONDS = 1.0
LONGEST_CHECK_SECONDS = 600.0  # of one check


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How often a target is looked at, and how long it may take to answer."""

    enabled: bool = False
    interval_seconds: float = 300.0
    timeout_seconds: float = 10.0


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the last look found."""

    healthy: bool
    detail: str = ""
    latency_ms: float = 0.0
    checked_at: Instant


class Target(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A place where agents of one type can be started. `config` is one of its mechanism's type, as JSON."""

    v: int = version(1)
    id: str
    name: str
    description: str = ""
    agent_type: str
    capabilities: tuple[str, ...]
    boundaries: tuple[str, ...]
    mechanism: Mechanism
    config: msgspec.Raw
    max_concurrent: int = 1
    cooldown_seconds: float = 30.0
    idle_seconds: float = 300.0
    boot_timeout_seconds: float = 120.0
    health_check: HealthCheck = HealthCheck()
    tags: tuple[str, ...] = ()
    enabled: bool = True
    created_at: Instant
    updated_at: Instant
    ops: tuple[str, ...] = ()  # of the newest changes: the same again changes nothing

    @property
    def settings(self) -> Config:
        """What the mechanism needs to know, as its own type. Raises: InvalidArgument."""
        return checked_config(self.mechanism, self.config)


def checked(target: Target) -> Target:
    """Return `target` with its labels as they are compared.

    Raises: InvalidArgument, naming the field, for a value that no target can have.
    """
    settings = checked_config(target.mechanism, target.config)
    for mistake in faults(target, settings):
        raise InvalidArgument(str(mistake), mistake.hint)
    return msgspec.structs.replace(
        target,
        agent_type=names.label(target.agent_type, "agentType"),
        capabilities=_labels(target.capabilities, "capabilities"),
        boundaries=_labels(target.boundaries, "boundaries"),
        tags=_labels(target.tags, "tags"),
        config=msgspec.Raw(msgspec.json.encode(settings)),
    )


def faults(target: Target, settings: Config) -> Iterator[Mistake]:
    """Yield each value that no target can have although it is of its type; `settings` are of the target's `config`."""
    if not TARGET_NAME.fullmatch(target.name):
        rule = "must be 1-64 of a-z, 0-9 and '-', not starting with '-'"
        yield Mistake("name", f"{names.shown(target.name)} {rule}", f"try {names.handle_like(target.name)!r}")
    yield from _faulty_labels("agentType", (target.agent_type,))
    yield from _faulty_labels("capabilities", target.capabilities)
    yield from _faulty_labels("boundaries", target.boundaries)
    yield from _faulty_labels("tags", target.tags)
    if not target.boundaries:
        yield Mistake("boundaries", "none is given", "name those whose work its agents may take")
    check = target.health_check
    for field, value, least, most in (
        ("maxConcurrent", target.max_concurrent, 1, MOST_CONCURRENT),
        ("cooldownSeconds", target.cooldown_seconds, 0, LONGEST_SECONDS),
        ("idleSeconds", target.idle_seconds, 0, LONGEST_SECONDS),
        ("bootTimeoutSeconds", target.boot_timeout_seconds, 1, LONGEST_SECONDS),
        ("healthCheck.intervalSeconds", check.interval_seconds, SHORTEST_CHECK_SECONDS, LONGEST_SECONDS),
        ("healthCheck.timeoutSeconds", check.timeout_seconds, SHORTEST_CHECK_SECONDS, LONGEST_CHECK_SECONDS),
    ):
        if not least <= value <= most:  # false for what is no number, too
            yield Mistake(field, f"{value:g} must be from {least:g} to {most:g}")
    yield from config_faults(settings)


def _faulty_labels(field: str, given: tuple[str, ...]) -> Iterator[Mistake]:
    if len(given) > MOST_LABELS:
        yield Mistake(field, f"at most {MOST_LABELS}", "name fewer")
    for each in given:
        try:
            names.label(each, "the name")
        except InvalidArgument as error:
            yield Mistake(field, error.message, error.hint)


def _labels(given: tuple[str, ...], what: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.label(each, what) for each in given))
