"""What is put into a configuration and taken out again.

Each change is decided on the data, done to the text, and then held against what the text says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from loominal.local.connect.text import GRAMMARS, Format, Keys

MISSING = msgspec.UNSET  # stands for a value that is not there
_HOOK = re.compile(r'"[^"]* (hook [a-z-]+)"')


class Put(msgspec.Struct, frozen=True, kw_only=True, tag="put"):
    """`value` belongs at `keys`; of an object there, other members stay.

    An object whose member `unless_same` is as in `value` already is left alone.
    """

    keys: tuple[str, ...]
    value: object
    unless_same: str = ""

    def stands(self, data: object) -> bool:
        """Return whether what is there is to be left alone."""
        there = looked_up(data, (*self.keys, self.unless_same))
        return bool(self.unless_same) and there is not MISSING and there == looked_up(self.value, (self.unless_same,))


class Add(msgspec.Struct, frozen=True, kw_only=True, tag="add"):
    """`values` belong into the list at `keys`; an item that differs only in its program of `replaces` gives way."""

    keys: tuple[str, ...]
    values: tuple[object, ...]
    replaces: str = ""


Op = Put | Add


class Unfit(ValueError):
    """A configuration in which something else stands where ours belongs."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a text: a value at `keys`, or nothing there any more."""

    keys: Keys
    value: object  # MISSING: drop it


def applied(text: str, form: Format, ops: tuple[Op, ...]) -> str:
    """Return the text with all of `ops` in it; the same text if they are. Raises: ValueError (Unfit) if impossible."""
    for op in ops:
        data = GRAMMARS[form].parse(text)
        if isinstance(op, Put) and op.stands(data):
            continue
        steps = _putting(data, op.keys, op.value) if isinstance(op, Put) else _adding(data, op)
        text = _done(text, form, data, list(steps))
    return text


def reverted(text: str, form: Format, ops: tuple[Op, ...], before: str) -> str:
    """Return the text without what `ops` brought into `before`; what was there before is put back.

    Raises: ValueError if that is impossible.
    """
    was = GRAMMARS[form].parse(before)
    for op in reversed(ops):
        data = GRAMMARS[form].parse(text)
        steps = _taking(data, was, op.keys, op.value) if isinstance(op, Put) else _removing(data, was, op)
        text = _done(text, form, data, list(steps))
        text = _pruned(text, form, was, op.keys)
    return text


def looked_up(data: object, keys: Keys) -> object:
    """Return what is at `keys`, MISSING if there is nothing."""
    for key in keys:
        match data, key:
            case dict(), str() if key in data:
                data = data[key]
            case list(), int() if key < len(data):
                data = data[key]
            case _:
                return MISSING
    return data


def _putting(data: object, keys: Keys, value: object) -> Iterator[Step]:
    for depth in range(len(keys)):
        holder = looked_up(data, keys[:depth])
        if not isinstance(holder, dict):
            raise Unfit(f"{_shown(keys[:depth])} is not an object")
        if keys[depth] not in holder:
            yield Step(keys=keys[: depth + 1], value=_nested(keys[depth + 1 :], value))
            return
    there = looked_up(data, keys)
    if isinstance(there, dict) and isinstance(value, dict):
        for name, inner in value.items():
            yield from _putting(data, (*keys, name), inner)
    elif there != value:
        yield Step(keys=keys, value=value)


def _adding(data: object, op: Add) -> Iterator[Step]:
    there = looked_up(data, op.keys)
    if there is MISSING:
        yield from _putting(data, op.keys, list(op.values))
        return
    if not isinstance(there, list):
        raise Unfit(f"{_shown(op.keys)} is not a list")
    length = len(there)
    for value in op.values:
        if value in there:
            continue
        older = [at for at, item in enumerate(there) if op.replaces and _bare(item) == _bare(value)]
        yield Step(keys=(*op.keys, older[0] if older else length), value=value)
        length += not older


def _taking(data: object, was: object, keys: Keys, value: object) -> Iterator[Step]:
    there, before = looked_up(data, keys), looked_up(was, keys)
    if there is MISSING or there == before:
        return
    if before is MISSING:
        yield Step(keys=keys, value=MISSING)
    elif isinstance(value, dict) and isinstance(there, dict) and isinstance(before, dict):
        for name, inner in value.items():
            yield from _taking(data, was, (*keys, name), inner)
    elif there == value:
        yield Step(keys=keys, value=before)


def _removing(data: object, was: object, op: Add) -> Iterator[Step]:
    there, before = looked_up(data, op.keys), looked_up(was, op.keys)
    if not isinstance(there, list):
        return
    kept = before if isinstance(before, list) else []
    for at in reversed(range(len(there))):
        if there[at] in op.values and there[at] not in kept:
            older = [item for item in kept if op.replaces and _bare(item) == _bare(there[at])]
            yield Step(keys=(*op.keys, at), value=older[0] if older else MISSING)


def _pruned(text: str, form: Format, was: object, keys: Keys) -> str:
    """Return the text without the containers on the way to `keys` that are empty now and were not there before."""
    for depth in range(len(keys), 0, -1):
        data = GRAMMARS[form].parse(text)
        if looked_up(data, keys[:depth]) in ({}, []) and looked_up(was, keys[:depth]) is MISSING:
            text = _done(text, form, data, [Step(keys=keys[:depth], value=MISSING)])
    return text


def _done(text: str, form: Format, data: object, steps: list[Step]) -> str:
    """Return the text after `steps`, once it is sure that it says what it should and nothing else has changed."""
    grammar, wanted = GRAMMARS[form], data
    for step in steps:
        wanted = _changed(wanted, step.keys, step.value)
        dropped = step.value is MISSING
        text = grammar.drop(text, step.keys) if dropped else grammar.put(text, step.keys, step.value)
    said = grammar.parse(text)
    if (_solid(said) != _solid(wanted)) if form is Format.TOML else said != wanted:
        raise Unfit("it is written in a way that cannot be changed safely")
    return text


def _changed(data: object, keys: Keys, value: object) -> object:
    """Return the data with `value` at `keys`; what is not on the way there is shared with the old."""
    if not keys:
        return value
    key, dropped = keys[0], value is MISSING and len(keys) == 1
    match data, key:
        case dict(), str():
            rest = {name: item for name, item in data.items() if name != key} if dropped else dict(data)
            return rest if dropped else rest | {key: _changed(data.get(key), keys[1:], value)}
        case list(), int():
            inner = [] if dropped else [_changed(data[key] if key < len(data) else None, keys[1:], value)]
            return [*data[:key], *inner, *data[key + 1 :]]
    return data


def _solid(data: object) -> object:
    """Return the data without empty tables: TOML makes and forgets the outer tables of a header by itself."""
    if not isinstance(data, dict):
        return data
    solid = {key: _solid(value) for key, value in data.items()}
    return {key: value for key, value in solid.items() if value != {}}


def _nested(keys: Keys, value: object) -> object:
    for key in reversed(keys):
        value = {key: value}
    return value


def _bare(item: object) -> str:
    """Return a hook as text without the program it runs."""
    return _HOOK.sub(r'"\1"', json.dumps(item, sort_keys=True))


def _shown(keys: Keys) -> str:
    return ".".join(map(str, keys)) or "the whole"
