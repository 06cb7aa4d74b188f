"""Where agents can be started: targets, for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from loominal.fabric.operations.types import Arguments, View
from loominal.model.agent import JsonObject
from loominal.model.mechanism import Mechanism
from loominal.model.target import LONGEST_SECONDS, MOST_CONCURRENT

Concurrent = Annotated[int, msgspec.Meta(ge=1, le=MOST_CONCURRENT)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_SECONDS)]
BootSeconds = Annotated[float, msgspec.Meta(ge=1, le=LONGEST_SECONDS)]
CheckSeconds = Annotated[float, msgspec.Meta(ge=1, le=LONGEST_SECONDS)]
AnswerSeconds = Annotated[float, msgspec.Meta(ge=1, le=600)]


class Checks(Arguments, frozen=True, kw_only=True):
    """How often a target is looked at, and how long it may take to answer."""

    enabled: bool = False
    interval_seconds: CheckSeconds = 300.0
    timeout_seconds: AnswerSeconds = 10.0


class AddTarget(Arguments, frozen=True, kw_only=True):
    """Say where agents can be started, and how."""

    name: str
    description: str = ""
    agent_type: str
    capabilities: tuple[str, ...]
    boundaries: tuple[str, ...]
    mechanism: Mechanism
    config: JsonObject
    max_concurrent: Concurrent = 1
    cooldown_seconds: Seconds = 30.0
    idle_seconds: Seconds = 300.0
    boot_timeout_seconds: BootSeconds = 120.0
    health_check: Checks = Checks()
    tags: tuple[str, ...] = ()
    enabled: bool | None = None  # None: agents may be started there; where one is replaced by PUT: as it was


class UpdateTarget(Arguments, frozen=True, kw_only=True):
    """Change a target; what is left out stays."""

    target: str  # id or name
    name: str | None = None
    description: str | None = None
    agent_type: str | None = None
    capabilities: tuple[str, ...] | None = None
    boundaries: tuple[str, ...] | None = None
    mechanism: Mechanism | None = None
    config: JsonObject | None = None
    max_concurrent: Concurrent | None = None
    cooldown_seconds: Seconds | None = None
    idle_seconds: Seconds | None = None
    boot_timeout_seconds: BootSeconds | None = None
    health_check: Checks | None = None
    tags: tuple[str, ...] | None = None
    enabled: bool | None = None
    version: int | None = None  # of the target that is changed; None: whichever there is


class ListTargets(Arguments, frozen=True, kw_only=True):
    """Ask which targets there are."""


class GetTarget(Arguments, frozen=True, kw_only=True):
    """Look at one target, named by id or name."""

    target: str


class RemoveTarget(GetTarget, frozen=True, kw_only=True):
    """Forget a target; agents that it has started go on until they are idle."""


class EnableTarget(GetTarget, frozen=True, kw_only=True):
    """Let agents be started on a target again."""


class DisableTarget(GetTarget, frozen=True, kw_only=True):
    """Start no more agents on a target."""


class TestTarget(GetTarget, frozen=True, kw_only=True):
    """Ask the target's mechanism whether an agent could be started there."""

    __test__ = False  # no test of pytest's


class ChecksView(View, frozen=True, kw_only=True):
    """How often a target is looked at, and how long it may take to answer."""

    enabled: bool
    interval_seconds: float
    timeout_seconds: float


class HealthView(View, frozen=True, kw_only=True):
    """What the last look at a target found."""

    healthy: bool
    detail: str = ""
    latency_ms: float = 0.0
    checked_at: datetime | None = None


class TargetHealth(View, frozen=True, kw_only=True):
    """What an event tells of a target that became healthy or unhealthy."""

    id: str
    name: str
    health: HealthView


class TargetView(View, frozen=True, kw_only=True):
    """A target, and what goes on there. Only operators are shown its config."""

    id: str
    version: int = 0  # another one after each change; 0: of weft's own file
    name: str
    description: str = ""
    agent_type: str
    capabilities: tuple[str, ...]
    boundaries: tuple[str, ...]
    mechanism: Mechanism
    config: JsonObject = {}
    max_concurrent: int
    cooldown_seconds: float
    idle_seconds: float
    boot_timeout_seconds: float
    health_check: ChecksView
    tags: tuple[str, ...] = ()
    enabled: bool
    health: HealthView | None = None  # None: nobody has looked yet
    booting: int = 0  # agents that were started and have not come yet
    running: int = 0  # agents that have come
    failures: int = 0  # starts that failed in a row
    unusable: str | None = None  # why no agent can be started there at all; it completes "the target is …"
    created_at: datetime
    updated_at: datetime


class TargetList(View, frozen=True, kw_only=True):
    """Every target, by name."""

    targets: tuple[TargetView, ...]
    total: int
