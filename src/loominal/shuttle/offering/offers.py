"""What `shuttle submit` offers: the item of its flags, or those of a file of JSON lines.

They are read and checked as far as one can here; the hub checks the rest (`sending.py`).
"""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from loominal.fabric.operations.work import BroadcastWorkOffer
from loominal.fabric.protocol import ENCODED_BYTES, arguments, content, encode
from loominal.model.errors import InvalidArgument, LoominalError, Problem, error_from
from loominal.model.names import shown

NULL = b"null"
MOST_LINES = 100_000  # more is nothing that a person plans, such as what `yes` prints
MOST_TOLD = 50  # lines that are wrong
WIRE = dict(zip(BroadcastWorkOffer.__struct_fields__, BroadcastWorkOffer.__struct_encode_fields__, strict=True))


class Wanted(BroadcastWorkOffer, frozen=True, kw_only=True):
    """An offer as POST /api/work takes it: `capability` is one more that is needed."""

    capability: str | None = None


class Line(NamedTuple):
    """An offer of a file, and the task ids that it waits for and that come before it in the file."""

    number: int
    offer: BroadcastWorkOffer
    after: frozenset[str] = frozenset()

    @property
    def alone(self) -> BroadcastWorkOffer:
        """Return the offer as the hub can judge it before those are made."""
        return replace(self.offer, depends_on=tuple(each for each in self.offer.depends_on if each not in self.after))


class Wrong(NamedTuple):
    """What is wrong with a line."""

    number: int
    error: LoominalError


def fields_of(said: Mapping[str, object]) -> dict[str, object]:
    """Return what flags say, by their names in Python, by those of the wire; without what is unsaid."""
    return {WIRE[name]: value for name, value in said.items() if value not in (None, ())}


def offer_of(fields: Mapping[str, object]) -> BroadcastWorkOffer:
    """Return what is offered by fields as POST /api/work names them. Raises: InvalidArgument, TooLarge."""
    wanted = arguments(Wanted, encode(fields))
    more = [each for each in (wanted.capability, wanted.required_capability) if each is not None]
    plain = {name: getattr(wanted, name) for name in BroadcastWorkOffer.__struct_fields__}
    capabilities = tuple(dict.fromkeys((*wanted.capabilities, *more)))
    return BroadcastWorkOffer(**plain | {"capabilities": capabilities, "required_capability": None})


def read_lines(text: Iterable[bytes], unsaid: Mapping[str, object]) -> tuple[list[Line], list[Wrong]]:
    """Return the offers of a file of JSON lines, each with what it leaves `unsaid`, and what is wrong with others.

    One without a task id gets one that its content gives it, and how many like it come before: the same file again
    offers the same items. Raises: InvalidArgument for a line, or a file, without end.
    """
    read: list[tuple[int, BroadcastWorkOffer]] = []
    wrong: list[Wrong] = []
    alike: Counter[str] = Counter()
    for number, line in enumerate(text, 1):
        if number > MOST_LINES:
            raise InvalidArgument(f"there are more than {MOST_LINES} lines", "nothing was offered; give them in parts")
        if len(line) > ENCODED_BYTES:
            raise InvalidArgument(f"line {number} has more than {ENCODED_BYTES} bytes", "nothing was offered")
        if not line.strip():
            continue
        try:
            offer = offer_of({**unsaid, **_object(line.removeprefix(BOM_UTF8) if number == 1 else line)})
        except InvalidArgument as error:
            wrong.append(Wrong(number, error))
            continue
        if offer.task_id is None:
            digest = hashlib.sha256(content(offer)).hexdigest()[:16]
            alike[digest] += 1
            offer = replace(offer, task_id=f"line-{digest}-{alike[digest]}")
        read.append((number, offer))
    lines, misplaced = _in_order(read)
    return lines, sorted(wrong + misplaced, key=lambda each: each.number)


def refusal(wrong: list[Wrong], what: str) -> LoominalError:
    """Return what is wrong with the lines of `what` as one error: of the kind of all of them, if they are of one."""
    told = [
        f"line {number}: {error.message}{f' ({error.hint})' if error.hint else ''}"
        for number, error in wrong[:MOST_TOLD]
    ]
    told += [f"and {len(wrong) - MOST_TOLD} more"] if len(wrong) > MOST_TOLD else []
    codes = {error.code for _, error in wrong}
    code = codes.pop() if len(codes) == 1 else InvalidArgument.code
    message = told[0] if len(told) == 1 else "\n  ".join([f"{len(wrong)} lines of {what} cannot be offered:", *told])
    return error_from(Problem(code=code, message=message, hint="nothing was offered"))


def _object(line: bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of a line that have a value. Raises: InvalidArgument."""
    try:
        found = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"it is no JSON object: {error}") from error
    return {name: value for name, value in found.items() if bytes(value) != NULL}


def _in_order(read: list[tuple[int, BroadcastWorkOffer]]) -> tuple[list[Line], list[Wrong]]:
    """Return the lines with what they wait for of each other, and those that wait for a later one or repeat an id."""
    places: dict[str, int] = {}
    wrong: list[Wrong] = []
    for number, offer in read:
        first = places.setdefault(offer.task_id or "", number)
        if first != number:
            wrong.append(Wrong(number, InvalidArgument(f"line {first} has the task id {shown(offer.task_id or '')}")))
    lines = []
    for number, offer in read:
        inside = frozenset(each for each in offer.depends_on if each in places)
        for late in sorted(each for each in inside if places[each] >= number):
            what = f"it depends on {shown(late)}, which is line {places[late]}"
            wrong.append(Wrong(number, InvalidArgument(what, "what others wait for comes before them")))
        lines.append(Line(number, offer, inside))
    return lines, wrong
