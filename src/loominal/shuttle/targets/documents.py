"""Targets as documents: what a file or the flags say, everything that is wrong with it, and what is there already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from loominal.fabric.operations.targets import AddTarget, TargetView
from loominal.fabric.protocol import arguments, encode
from loominal.model.errors import InvalidArgument
from loominal.model.mechanism import CONFIGS, Mechanism
from loominal.model.mistakes import Mistake, mistakes
from loominal.model.names import shown
from loominal.model.target import Target, checked, faults
from loominal.shuttle.documents import Document, refuse

ENABLED = "enabled"
FIELDS = tuple(each for each in AddTarget.__struct_encode_fields__ if each != ENABLED)
OF_THE_HUB = frozenset(TargetView.__struct_encode_fields__) - {*FIELDS, ENABLED}  # said in answers, and passed over
SOUND: Document = {
    "name": "x", "agentType": "x", "capabilities": [], "boundaries": ["x"],
    "mechanism": "local", "config": {"command": ["x"]},
}  # fmt: skip
UNSET = {"id": "", "createdAt": "1970-01-01T00:00:00Z", "updatedAt": "1970-01-01T00:00:00Z"}
HIDDEN = re.compile(r"config\.(env|headers|inputs|body)\.")  # what is below may be a secret


class Wanted(NamedTuple):
    """A target as somebody wants it: what `add_target` takes, as JSON, and whether agents may be started there."""

    document: Document
    enabled: bool | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.document["name"])


def wanted_in(found: object) -> list[Wanted]:
    """Return the targets that a document says: one, a list, or a table `targets`.

    What `shuttle targets show --json` and `list --json` print are such documents. Raises: InvalidArgument, with
    everything that is wrong.
    """
    entries, wrong = _entries(found)
    sound: dict[str, Document] = {}
    for place, entry in entries:
        here = list(_all_wrong(entry))
        if not here and entry["name"] in sound:
            here = [Mistake("name", f"{shown(entry['name'])} is there twice")]
        wrong += [Mistake(f"{place}{each.place}".rstrip(".") or "it", each.what, each.hint) for each in here]
        if not here:
            sound[entry["name"]] = entry
    refuse(wrong, "the targets")
    return [wanted(entry) for entry in sound.values()]


def _entries(found: object) -> tuple[list[tuple[str, Document]], list[Mistake]]:
    """Return what should be targets, each with its place, and what is wrong around them."""
    if isinstance(found, dict) and "targets" not in found:
        return [("", found)], []
    whole = {"targets": found} if isinstance(found, list) else found if isinstance(found, dict) else {}
    wrong = [Mistake(key, "there is no such key beside targets") for key in whole if key not in ("targets", "total")]
    listed = whole.get("targets")
    if not isinstance(listed, list) or not listed:
        return [], [*wrong, Mistake("targets", "there are none: write a table for each")]
    return [(f"targets[{index}].", each) for index, each in enumerate(listed)], wrong


def wanted(document: Document) -> Wanted:
    """Return the target that a sound document says, with every default, and its names as they are compared."""
    fields = {key: value for key, value in document.items() if key in FIELDS}
    return Wanted(_plain(checked(_target(fields))), document.get(ENABLED))


def _all_wrong(entry: object) -> Iterator[Mistake]:
    if not isinstance(entry, dict):
        yield Mistake("", "it must be a table")
        return
    if not isinstance(entry.get(ENABLED, True), bool):
        yield Mistake(ENABLED, "it must be true or false")
    yield from target_mistakes({key: value for key, value in entry.items() if key not in (*OF_THE_HUB, ENABLED)})


def target_mistakes(document: Document) -> list[Mistake]:
    """Return everything that keeps a document from being a target, by the rules that the hub has."""
    found = list(mistakes(AddTarget, document, ""))
    mechanism, config = document.get("mechanism"), document.get("config")
    if isinstance(mechanism, str) and mechanism in CONFIGS and isinstance(config, dict):
        found += mistakes(CONFIGS[Mechanism(mechanism)], config, "config")
    wrong = {re.split(r"[.\[]", each.place)[0] for each in found}
    if wrong & {"mechanism", "config"}:
        wrong |= {"mechanism", "config"}
    target = _target(SOUND | {key: value for key, value in document.items() if key in FIELDS and key not in wrong})
    found += faults(target, msgspec.json.decode(target.config, type=CONFIGS[target.mechanism]))
    if not found:
        try:
            arguments(AddTarget, encode(document))
        except InvalidArgument as error:  # too long, or nested too deeply
            found.append(Mistake("", error.message, error.hint))
    return found


def present(view: TargetView) -> Document:
    """Return a target that is there as a document."""
    return _plain(view)


def kept(document: Document, view: TargetView) -> Document:
    """Return a wanted target with what it leaves open and the one that is there says: the machine of a local one."""
    if document["mechanism"] == view.mechanism == Mechanism.LOCAL and not document["config"]["host"]:
        return {**document, "config": {**document["config"], "host": view.config.get("host", "")}}
    return document


def is_secret(place: str) -> bool:
    """Return whether what is at a place of a target may be a secret."""
    return HIDDEN.match(place) is not None


def _target(fields: Document) -> Target:
    return msgspec.json.decode(msgspec.json.encode(fields | UNSET), type=Target)


def _plain(target: Target | TargetView) -> Document:
    whole = msgspec.json.decode(msgspec.json.encode(target))
    return {key: whole[key] for key in FIELDS}
