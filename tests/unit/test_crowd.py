"""The crowd beside the agents one by one."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.hub.agents.crowd import Crowd
from loominal.model.agent import AgentStatus
from loominal.model.grant import own_user_grant
from loominal.model.policy import DEFAULT_POLICY
from loominal.model.routing import Candidate, exclusion
from tests.unit.factories import NOW, PROJECT, a_grant, an_agent, an_item

NAMES = ("ann", "bob", "cyd", "dan")
states = st.none() | st.builds(
    an_agent,
    agent_type=st.sampled_from(["codex", "claude-code"]),
    capabilities=st.sampled_from([frozenset({"python"}), frozenset()]),
    holding=st.integers(0, 2),
    max_concurrent=st.integers(1, 2),
    draining=st.booleans(),
    status=st.sampled_from(AgentStatus),
    grants=st.sampled_from([(), (own_user_grant("me"),), (a_grant(id="other", user="you"),)]),
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), states), max_size=30))
def test_agents_of_a_kind_are_those_of_which_the_rules_say_the_same(
    changes: list[tuple[str, Candidate | None]],
) -> None:
    there: dict[str, Candidate] = {}
    crowd = Crowd(there.get, lambda: list(there))
    for name, state in changes:
        there.pop(name, None)
        if state is not None:
            there[name] = an_agent(**{each: getattr(state, each) for each in state.__struct_fields__} | {"id": name})
        crowd.touch(name)

        assert sum(kind.how_many for kind in crowd.alike()) == len(there)
        assert {each: crowd.get(each) for each in NAMES} == {each: there.get(each) for each in NAMES}
        assert Counter(each.id for _, each in crowd.members()) == Counter(list(there))
        for agent_type in ("codex", "claude-code"):
            found = {each.agent_type for each in crowd.of_types([agent_type])}
            assert found == {each.agent_type for each in there.values() if each.agent_type == agent_type}
    item = an_item()
    for kind in crowd.alike():
        reason = exclusion(item, kind.agent, DEFAULT_POLICY, PROJECT, NOW)
        same = [each for each in there.values() if crowd.kind(each.id) == crowd.kind(kind.agent.id)]
        assert {exclusion(item, each, DEFAULT_POLICY, PROJECT, NOW) for each in same} == {reason}
        assert len(same) == kind.how_many


def test_what_passes_by_itself_is_found_when_everybody_is_looked_at_again() -> None:
    there = {"ann": an_agent()}
    crowd = Crowd(there.get, lambda: list(there))
    assert len(crowd.alike()) == 1

    there["bob"] = an_agent(id="bob")
    del there["ann"]
    crowd.touch_all()

    assert [kind.agent.id for kind in crowd.alike()] == ["bob"]
    assert crowd.get("ann") is None
