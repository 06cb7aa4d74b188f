"""What is told of arguments that cannot be read: what there is at the place that is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from loominal.fabric.operations.policy import SetPolicy
from loominal.fabric.operations.registry import DiscoverAgents
from loominal.fabric.operations.targets import ListTargets, UpdateTarget
from loominal.fabric.protocol import arguments
from loominal.model.errors import InvalidArgument


@pytest.mark.parametrize(
    ("kind", "given", "hint"),
    [
        (SetPolicy, {"rules": {}}, "the arguments are: boundaries, crossProject, "),
        (SetPolicy, {"boundary": {}}, "did you mean 'boundaries'?"),
        (SetPolicy, {"boundaries": {"a": {"agentType": []}}}, "did you mean 'agentTypes'?"),
        (SetPolicy, {"boundaries": {"a": {"x": 1}}}, "the fields of boundaries[...] are: agentTypes, preferred, "),
        (SetPolicy, {"boundaries": {"a": {"agentTypes": "b"}}}, "the arguments are: boundaries, "),
        (UpdateTarget, {"target": "a", "mechanism": "process"}, "it is one of: local, ssh, "),
        (UpdateTarget, {"target": "a", "healthCheck": {"x": 1}}, "the fields of healthCheck are: enabled, "),
        (DiscoverAgents, {"status": "gone"}, "it is one of: online, busy, offline"),
        (ListTargets, {"all": True}, "it takes no arguments"),
    ],
)  # fmt: skip
def test_it_is_what_there_is_at_the_place_that_is_wrong(
    kind: type[msgspec.Struct],
    given: dict[str, Any],  # Any: JSON
    hint: str,
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        arguments(kind, msgspec.json.encode(given))

    assert refused.value.hint.startswith(hint)


@pytest.mark.parametrize("given", [b"", b"[]", b"3", b"{", b'{"boundaries":{"a":[]}}', b'{"boundaries":{"a":null}}'])
def test_there_is_one_for_whatever_is_wrong(given: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        arguments(SetPolicy, given)

    assert refused.value.hint
