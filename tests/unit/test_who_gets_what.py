"""The whole matrix boundary x grant x policy x agent type x preference, against rules written down a second time."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from loominal.model.agent import AgentStatus
from loominal.model.grant import CORPORATE, Grant, Role, own_user_grant
from loominal.model.policy import DEFAULT_POLICY, OPEN_POLICY, Policy, Rule
from loominal.model.routing import (
    HEAD_START_SECONDS,
    Alike,
    Candidate,
    Exclusion,
    barred,
    claimable_after,
    exclusion,
    route_of,
    why_waiting,
)
from loominal.model.work import WorkItem
from tests.unit.factories import PROJECT, a_grant, after, an_agent, an_item

CLOSED = Policy(boundaries=DEFAULT_POLICY.boundaries, closed=True)
TYPES = ("claude-code", "codex", "copilot-cli")
BOUNDARIES = ("corporate", "corporate-adjacent", "personal", "open-source", "secret")
some_types = st.lists(st.sampled_from(TYPES), max_size=2, unique=True).map(tuple)
rules = st.builds(Rule, agent_types=some_types, preferred=some_types)
policies = st.sampled_from([DEFAULT_POLICY, OPEN_POLICY, CLOSED]) | st.builds(
    Policy, boundaries=st.dictionaries(st.sampled_from(BOUNDARIES), rules, max_size=4)
)
one_grant = st.builds(
    Grant,
    id=st.just("g"),
    user=st.just("me"),
    role=st.sampled_from([Role.AGENT, Role.AGENT, Role.OPERATOR, Role.OBSERVER]),
    projects=st.sampled_from([(), (PROJECT,), ("elsewhere",)]),
    agent_types=some_types,
    boundaries=st.lists(st.sampled_from(BOUNDARIES), max_size=2, unique=True).map(tuple),
    every_boundary=st.booleans(),
    capabilities=st.sampled_from([(), (), ("python",), ("rust",)]),
    expires_at=st.sampled_from([None, None, after(-1), after(1000)]),
)
grants = st.lists(one_grant, max_size=3).map(tuple) | st.just((own_user_grant("me"),))
agents = st.builds(
    an_agent,
    id=st.sampled_from(["ann", "bob", "cyd"]),
    agent_type=st.sampled_from(TYPES),
    capabilities=st.sampled_from([frozenset({"python"}), frozenset({"python", "rust"}), frozenset()]),
    boundaries=st.frozensets(st.sampled_from(BOUNDARIES), min_size=2),
    grants=grants,
    holding=st.sampled_from([0, 0, 0, 1]),
    draining=st.sampled_from([False, False, False, True]),
    status=st.sampled_from([*AgentStatus, AgentStatus.ONLINE]),
)
items = st.builds(
    an_item,
    boundary=st.sampled_from(BOUNDARIES),
    capabilities=st.sampled_from([(), ("python",), ("python", "rust")]),
    preferred_agent_type=st.sampled_from(["", "", *TYPES]),
    required_agent_type=st.sampled_from(["", "", "", *TYPES]),
    assign_to=st.sampled_from(["", "", "", "ann"]),
)
waits = st.sampled_from([0.0, 29.0, 30.0, 999.0])


def is_granted(item: WorkItem, agent: Candidate, now: datetime) -> bool:
    """Tell whether a single grant has every part of it."""
    for grant in agent.grants:
        explicit = item.boundary in grant.boundaries
        implied = grant.every_boundary and item.boundary != CORPORATE
        parts = (
            grant.role is not Role.OBSERVER,
            grant.expires_at is None or grant.expires_at > now,
            PROJECT in (grant.projects or (PROJECT,)),
            agent.agent_type in (grant.agent_types or TYPES),
            explicit or implied,
            set(item.capabilities) <= set(grant.capabilities or item.capabilities),
        )
        if all(parts):
            return True
    return False


def is_able(item: WorkItem, agent: Candidate, policy: Policy, now: datetime) -> bool:
    """Tell whether an agent may take the item, once nobody has a head start on it."""
    rule = None if policy.closed else policy.boundaries.get(item.boundary)
    return (
        rule is not None
        and (not rule.agent_types or agent.agent_type in rule.agent_types)
        and is_granted(item, agent, now)
        and item.boundary in agent.boundaries
        and set(item.capabilities) <= agent.capabilities
        and item.required_agent_type in ("", agent.agent_type)
        and item.assign_to in ("", agent.id)
        and agent.status is not AgentStatus.OFFLINE
        and not agent.draining
        and agent.holding < agent.max_concurrent
    )


def must_wait(item: WorkItem, agent: Candidate, others: list[Candidate], policy: Policy, now: datetime) -> bool:
    """Tell whether a preferred agent goes before this one while the item is new."""
    preferred: tuple[str, ...] = (item.preferred_agent_type,) if item.preferred_agent_type else ()
    if not preferred and item.boundary in policy.boundaries:
        preferred = policy.boundaries[item.boundary].preferred
    if agent.agent_type in preferred:
        return False
    return any(
        each.agent_type in preferred and each.status is AgentStatus.ONLINE and is_able(item, each, policy, now)
        for each in others
    )


@settings(max_examples=300)
@given(items, agents, st.lists(agents, max_size=3), policies, waits)
def test_an_item_goes_to_whom_grant_policy_registration_and_preference_let_have_it_and_to_nobody_else(
    item: WorkItem, agent: Candidate, others: list[Candidate], policy: Policy, waited: float
) -> None:
    now = after(waited)
    behind = waited < HEAD_START_SECONDS and must_wait(item, agent, others, policy, now)
    may = is_able(item, agent, policy, now) and not behind

    assert (exclusion(item, agent, policy, PROJECT, now, others) is None) is may
    wait = claimable_after(route_of(item), agent, policy, PROJECT, now, others)
    assert (wait is not None and waited >= wait) is may


@given(items, agents, policies, waits)
def test_the_rule_that_is_told_is_one_that_the_agent_breaks(
    item: WorkItem, agent: Candidate, policy: Policy, waited: float
) -> None:
    now = after(waited)
    reason = barred(route_of(item), agent, policy, PROJECT, now)
    if reason is None:
        return
    rule = policy.boundaries.get(item.boundary, Rule())
    broken = {
        Exclusion.ASSIGNED: item.assign_to not in ("", agent.id),
        Exclusion.STATUS: agent.draining or agent.status is AgentStatus.OFFLINE,
        Exclusion.GRANT: not is_granted(item, agent, now),
        Exclusion.POLICY: policy.closed
        or item.boundary not in policy.boundaries
        or agent.agent_type not in (rule.agent_types or TYPES),
        Exclusion.BOUNDARY: item.boundary not in agent.boundaries,
        Exclusion.CAPABILITY: not set(item.capabilities) <= agent.capabilities,
        Exclusion.TYPE: item.required_agent_type not in ("", agent.agent_type),
    }
    earlier = list(broken)[: list(broken).index(reason.exclusion)]

    assert broken[reason.exclusion]
    assert not any(broken[each] for each in earlier)


@given(items, st.lists(st.tuples(agents, st.integers(1, 5)), max_size=4), policies, waits)
def test_why_an_item_waits_counts_every_agent_once(
    item: WorkItem, crowd: list[tuple[Candidate, int]], policy: Policy, waited: float
) -> None:
    now, kinds = after(waited), [Alike(agent, how_many) for agent, how_many in crowd]
    others = [each.agent for each in kinds]
    can = sum(many for agent, many in kinds if exclusion(item, agent, policy, PROJECT, now, others) is None)

    said = why_waiting(item, kinds, policy, PROJECT, now)

    refused = policy.closed or item.boundary not in policy.boundaries
    assert said.startswith("Nobody may take it") is refused
    if not refused:
        assert said.startswith(("1 agent could", f"{can} agents could")) is bool(can)


@given(agents, policies, st.lists(one_grant, max_size=3))
def test_corporate_work_needs_a_grant_that_says_so(agent: Candidate, policy: Policy, given_: list[Grant]) -> None:
    vague = tuple(a_grant(boundaries=tuple(set(grant.boundaries) - {CORPORATE})) for grant in given_)
    one = Candidate(id=agent.id, agent_type=agent.agent_type, boundaries=frozenset({CORPORATE}), grants=vague)

    assert exclusion(an_item(boundary=CORPORATE, capabilities=()), one, policy, PROJECT, after(999)) is not None
