"""A policy as a document: what a file says, what flags change of the one that holds, and what is wrong with either."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import msgspec

from loominal.fabric.operations.policy import PolicyView, SetPolicy
from loominal.model.errors import IllegalMove, InvalidArgument
from loominal.model.mistakes import Mistake, mistakes
from loominal.model.names import label, shown
from loominal.model.policy import Policy, checked
from loominal.shuttle.documents import Document, refuse

FIELDS = tuple(name for name in SetPolicy.__struct_encode_fields__ if name != "version")
TOLD = ("unreadable", "unknownTargets")  # of the policy that holds; a file that was made from it has them, too
OF_A_RULE = ("agentTypes", "preferred", "spinUp", "targets")
NOTHING = ("",)  # what empties a list


def written(found: object) -> tuple[PolicyView, int | None]:
    """Return the policy that a file says, and the version that it was made from, if it tells.

    What `shuttle policy show --json` prints is such a file. Raises: InvalidArgument, with everything that is wrong.
    """
    if isinstance(found, dict):
        found = {key: value for key, value in found.items() if key not in TOLD}
    refuse(list(mistakes(SetPolicy, found, "")), "the policy")
    asked = msgspec.convert(found, SetPolicy)
    whole = msgspec.to_builtins(asked)
    policy = checked(msgspec.convert({key: value for key, value in whole.items() if key in FIELDS}, Policy))
    view = PolicyView(
        version=0,
        boundaries=policy.boundaries,
        cross_project=policy.cross_project,
        stalled_seconds=policy.stalled_seconds,
        hand_back_seconds=policy.hand_back_seconds,
    )
    return view, asked.version


def changed(before: PolicyView, said: Mapping[str, object], removed: Sequence[str]) -> PolicyView:
    """Return the policy with what the flags say: fields of its own, and of the rule of `boundary`.

    Raises: InvalidArgument; IllegalMove if the one that holds cannot be read.
    """
    if before.unreadable:
        raise IllegalMove("the policy that is stored cannot be read", "give all of it with --from")
    document = copy.deepcopy(plain(before))
    for name in removed:
        if document["boundaries"].pop(label(name, "boundary"), None) is None:
            known = ", ".join(document["boundaries"])
            raise InvalidArgument(f"--remove-boundary: there is none called {shown(name)}", f"there are: {known}")
    if "boundary" in said:
        rule = document["boundaries"].setdefault(label(str(said["boundary"]), "boundary"), {})
        rule |= {key: [] if said[key] == NOTHING else said[key] for key in OF_A_RULE if key in said}
    return written(document | {key: said[key] for key in FIELDS if key in said})[0]


def plain(policy: PolicyView) -> Document:
    """Return a policy as a document, without its version."""
    whole = msgspec.json.decode(msgspec.json.encode(policy))
    return {key: whole[key] for key in FIELDS}


def unknown_targets(policy: PolicyView, known: Sequence[str]) -> list[Mistake]:
    """Return the targets that rules name and that are not there, or not yet."""
    return [
        Mistake(boundary, f"there is no target {shown(name)} yet")
        for boundary, rule in policy.boundaries.items()
        for name in rule.targets
        if name not in known
    ]
