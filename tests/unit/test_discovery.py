"""The registry in memory: what is found by which names, and in which order records may come."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loominal.broker.bucket import Deleted, Entry
from loominal.fabric.hub.agents.registry import Agents, Facet, agent_key, handle_key
from loominal.model.agent import AgentRecord, HandleRecord
from loominal.model.errors import CorruptRecord
from loominal.model.names import label
from loominal.model.record import encode

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = AgentRecord(
    id="a-1",
    handle="ada",
    registered=True,
    agent_type="codex",
    capabilities=("C++", "node.js"),
    boundaries=("personal",),
    hostname="Loom-1",
)


def record_of(record: AgentRecord, revision: int) -> Entry:
    return Entry(key=agent_key(record.id), value=encode(record), revision=revision)


def handle_of(record: AgentRecord, revision: int) -> Entry:
    return Entry(key=handle_key(record.handle), value=encode(HandleRecord(agent=record.id, at=NOW)), revision=revision)


@pytest.fixture
def agents() -> Agents:
    agents = Agents()
    agents.apply(handle_of(ADA, 1))
    agents.apply(record_of(ADA, 2))
    return agents


def found(agents: Agents, **wanted: str) -> set[str]:
    return set(agents.having({Facet(name): text for name, text in wanted.items()}))


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"agent_type": "codex"},
        {"capability": "c++"},
        {"capability": "node.js", "boundary": "personal", "hostname": "loom-1"},
        {"handle": "ada"},
    ],
)
def test_an_agent_is_found_by_all_it_registered(agents: Agents, wanted: dict[str, str]) -> None:
    assert found(agents, **wanted) == {ADA.id}


@pytest.mark.parametrize(
    "wanted",
    [
        {"capability": "c--"},
        {"capability": "node-js"},
        {"agent_type": "codex", "boundary": "corporate"},
        {"handle": "ad"},
    ],
)
def test_all_filters_must_hold(agents: Agents, wanted: dict[str, str]) -> None:
    assert found(agents, **wanted) == set()


def test_what_an_agent_no_longer_is_does_not_find_it(agents: Agents) -> None:
    agents.apply(record_of(replace(ADA, capabilities=("go",)), 3))

    assert found(agents, capability="c++") == set()
    assert found(agents, capability="go") == {ADA.id}


def test_a_deregistered_agent_is_known_but_not_found(agents: Agents) -> None:
    agents.apply(record_of(replace(ADA, registered=False), 3))

    assert found(agents) == set()
    assert agents.registered() == []
    assert agents.find("ada", ()) == replace(ADA, registered=False)


@pytest.mark.parametrize("text", ["a-1", "A-1", "ada", " Ada ", "ada@loom"])
def test_an_agent_is_found_by_guid_handle_and_handle_at_project(agents: Agents, text: str) -> None:
    assert agents.find(text, {"loom"}) == ADA


@pytest.mark.parametrize("text", ["", "nobody", "ada@elsewhere", "@loom"])
def test_nobody_is_found_by_other_texts(agents: Agents, text: str) -> None:
    assert agents.find(text, {"loom"}) is None


def test_a_handle_is_its_agents_only_while_key_and_record_agree(agents: Agents) -> None:
    bob = AgentRecord(id="b-1", handle="ada")
    agents.apply(handle_of(bob, 3))  # the key changed hands, bob's record does not say so yet

    assert agents.find("ada", ()) is None

    agents.apply(record_of(bob, 4))
    assert agents.find("ada", ()) == bob
    assert not agents.owns(ADA.id, "ada")
    assert {each.id for each in agents.bearing("ada")} == {ADA.id, bob.id}


def test_a_freed_handle_names_nobody(agents: Agents) -> None:
    agents.apply(Deleted(key=handle_key("ada"), revision=3))

    assert agents.holder("ada") is None
    assert agents.handles_of(ADA.id) == frozenset()


@pytest.mark.parametrize("value", [b'{"id": 7', encode(replace(ADA, capabilities=("a\nb",)))])
def test_a_record_that_cannot_be_used_counts_as_absent_and_can_be_written_anew(agents: Agents, value: bytes) -> None:
    with pytest.raises(CorruptRecord):
        agents.apply(Entry(key=agent_key(ADA.id), value=value, revision=3))

    assert agents.get(ADA.id) is None
    assert agents.revision(ADA.id) == 3
    assert found(agents) == set()


def test_other_keys_of_the_bucket_are_passed_over(agents: Agents) -> None:
    agents.apply(Entry(key="policy.main", value=b"not for us", revision=9))

    assert found(agents) == {ADA.id}


CAPABILITIES = st.lists(st.sampled_from(["C++", "c++", "go", "node.js", "node-js", "Straße"]), max_size=4)
VERSIONS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), CAPABILITIES, st.booleans()), max_size=20)


@given(VERSIONS, st.randoms(use_true_random=False))
def test_records_that_come_twice_or_late_leave_what_the_newest_say(
    versions: list[tuple[str, list[str], bool]], random: Random
) -> None:
    entries = [
        record_of(replace(ADA, id=name, handle=name, registered=registered, capabilities=tuple(given)), revision)
        for revision, (name, given, registered) in enumerate(versions, 1)
    ]
    shuffled = entries + entries
    random.shuffle(shuffled)
    agents = Agents()
    for entry in shuffled:
        agents.apply(entry)

    newest = {name: (given, registered) for name, given, registered in versions}
    for capability in ("c++", "go", "node.js", "node-js", "strasse"):
        expected = {
            name
            for name, (given, registered) in newest.items()
            if registered and capability in {label(each, "capability") for each in given}
        }
        assert found(agents, capability=capability) == expected
