"""How a request and its answer travel between an agent and the hub, and how long each side waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec

from loominal.fabric.hints import hint
from loominal.model.errors import InvalidArgument, Problem, TooLarge, UpgradeNeeded
from loominal.model.names import one_line, shown
from loominal.model.times import rfc3339

PROTO = 1  # what this build speaks
PROTO_MIN = 1  # the oldest it understands

HEARTBEAT_SECONDS = 5.0
POLL_SECONDS = 25.0  # the longest the hub holds one claim or wait; clients repeat
REQUEST_SECONDS = 5.0  # how long a client waits for an answer before it asks again with the same op
GIVE_UP_SECONDS = 600.0  # then the op is given up; well inside the 30 min in which a send is recognised
REQUESTS_IN_FLIGHT = 32  # per agent, beside one claim poll and one wait
FIELD_BYTES = 200_000  # one text or object
REQUEST_BYTES = 600_000  # the arguments of one request, before escaping
ENCODED_BYTES = 6 * REQUEST_BYTES + 4096  # the longest request as it travels: a control character takes six bytes
PLAIN_BYTES = FIELD_BYTES // 8  # what is so short holds nothing too large: written anew, 1e15 has 18 bytes for its 4
NESTED_LEVELS = 64  # objects in objects; what is read anywhere must be readable however deep the reader's own stack is
MOST_ANSWERED = 8  # pages of messages that a request says have come
MOST_HOLDS = 1000  # claims that a heartbeat names: an agent holds no more


T = TypeVar("T", bound=msgspec.Struct)
LeaseToken = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # a sequence of the broker's; 0 is none


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What an agent asks. Who asks is not in here: the broker says it, in the subject."""

    proto: int
    op: str  # the asker's name for this deed; repeated unchanged when it asks again
    incarnation: str  # one per process; also its secret: who knows it may act for the process
    args: msgspec.Raw = msgspec.Raw(b"{}")
    lease_token: LeaseToken = 0
    limit_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0  # the longest answer wanted; 0: whatever the broker carries
    answered: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_ANSWERED)] = ()  # ops of pages that have come
    projects: tuple[str, ...] = ()  # of who asks over REST: the bearer token's, none: every one; of others not heeded


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the hub says: `ok` or `error`."""

    proto: int
    ok: msgspec.Raw = msgspec.Raw(b"")  # empty: it is an error
    error: Problem | None = None


class Beat(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A heartbeat: the process is alive and holds exactly these claims."""

    proto: int
    incarnation: str
    holds: Annotated[tuple[tuple[str, LeaseToken], ...], msgspec.Meta(max_length=MOST_HOLDS)] = ()  # (item, token)
    leaving: bool = False  # the last one: offline at once
    active: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_HOLDS)] = ()  # items worked on since the last


class ControlKind(StrEnum):
    """Why the hub nudges an agent."""

    CANCEL = "cancel"
    LEASE_LOST = "lease_lost"
    SUPERSEDED = "superseded"
    DRAIN = "drain"
    STALLED = "stalled"
    REVOKED = "revoked"


class Control(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A nudge from the hub; the truth is in the log, this only makes it known sooner."""

    proto: int
    kind: ControlKind
    incarnation: str = ""
    item: str = ""
    lease_token: int = 0
    note: str = ""
    until: datetime | None = None  # of DRAIN: when the agent is cut off


_encoder = msgspec.json.Encoder()
_PLAIN = frozenset({str, int, float, bool})  # what `plain` returns as it is


def decode_request(data: bytes) -> Request:
    """Return the request in `data`. Raises: InvalidArgument, TooLarge, UpgradeNeeded."""
    if len(data) > ENCODED_BYTES:
        raise TooLarge(f"the request has {len(data)} bytes, {REQUEST_BYTES} are allowed before escaping")
    request = arguments(Request, data)
    if not PROTO_MIN <= request.proto <= PROTO:
        side, command = ("this agent", "warp") if request.proto < PROTO_MIN else ("the coordinator", "weft")
        raise UpgradeNeeded(
            f"this agent speaks protocol {request.proto}, the coordinator {PROTO_MIN} to {PROTO}",
            f"upgrade {side} (`pip install -U loominal`, then restart {command})",
        )
    return request


def arguments(kind: type[T], data: bytes | msgspec.Raw) -> T:
    """Return `data` as a value of `kind`. Raises: InvalidArgument (with the path), TooLarge."""
    try:
        value = msgspec.json.decode(data, type=kind)
        if _is_plain(bytes(data)):
            return value
        names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
        size = sum(checked_size(shown, getattr(value, name)) for shown, name in names)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"malformed arguments: {one_line(str(error))}", hint(str(error), kind)) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            "malformed arguments: nested too deeply or not UTF-8", f"at most {NESTED_LEVELS} levels are read"
        ) from error
    if size > REQUEST_BYTES:
        raise TooLarge(f"the arguments have {size} bytes, {REQUEST_BYTES} are allowed")
    return value


def _is_plain(data: bytes) -> bool:
    """Return whether JSON is too short to hold anything too large or nested too deeply, as most is."""
    return len(data) <= PLAIN_BYTES and data.count(b"[") + data.count(b"{") <= NESTED_LEVELS


def checked_size(name: str, value: object) -> int:
    """Return the bytes of a text (before escaping) or object, 0 for others.

    Raises: TooLarge over FIELD_BYTES, InvalidArgument over NESTED_LEVELS.
    """
    if isinstance(value, str):
        size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, (dict, list, tuple)):
        _check_depth(name, value)
        size = len(_encoder.encode(value))
    else:
        return 0
    if size > FIELD_BYTES:
        raise TooLarge(f"{name} has {size} bytes, {FIELD_BYTES} are allowed")
    return size


def _check_depth(name: str, value: object) -> None:
    level: list[object] = [value]
    for _ in range(NESTED_LEVELS + 1):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise InvalidArgument(f"{name} is nested too deeply", f"at most {NESTED_LEVELS} levels are read; give it as text")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def encode(value: object) -> bytes:
    """Return `value` as JSON, for requests, beats and nudges.

    Raises: InvalidArgument if it is nested without end, or holds a text that is none: half a character, stray bytes.
    """
    try:
        return _encoder.encode(value)
    except RecursionError as error:
        raise InvalidArgument("nested too deeply", f"at most {NESTED_LEVELS} levels are read") from error
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{shown(error.object)} is no text in UTF-8") from error


def content(value: msgspec.Struct) -> bytes:
    """Return what tells `value` from others: equal ones give equal bytes, whether a default was left out or given."""
    return msgspec.json.encode({name: getattr(value, name) for name in value.__struct_fields__}, order="sorted")


def encode_answer(value: msgspec.Struct) -> bytes:
    """Return an answer as the contract words it.

    Nulls are left out; inside list entries fields at their default too; times have no fractions.
    """
    return _encoder.encode(plain(value, entry=False))


def plain(value: object, *, entry: bool) -> object:
    """Return `value` as what JSON knows; `entry`: it stands in a list, so its defaults are left out."""
    if isinstance(value, msgspec.Struct):
        if value.__struct_config__.omit_defaults:  # always an entry: msgspec does the same in a tenth of the time
            return msgspec.to_builtins(value)
        out: dict[str, object] = {}
        for field in _fields(type(value)):
            item = getattr(value, field.name)
            if item is None or (entry and _is_default(item, field)):
                continue
            out[field.encode_name] = item if type(item) in _PLAIN else plain(item, entry=entry)
        return out
    if isinstance(value, (list, tuple)):
        return [plain(item, entry=True) for item in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    return value


@cache  # msgspec evaluates a type's annotations at every call: 100 us for each entry of a list
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _is_default(value: Any, field: msgspec.structs.FieldInfo) -> bool:  # Any: a field of any type
    if field.default is not msgspec.NODEFAULT:
        return bool(value == field.default)
    return field.default_factory is not msgspec.NODEFAULT and bool(value == field.default_factory())
