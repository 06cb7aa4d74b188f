from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from loominal.model.agent import AgentStatus
from loominal.model.grant import CORPORATE, own_user_grant
from loominal.model.policy import DEFAULT_POLICY, Policy, Rule
from loominal.model.ready import ReadyIndex
from loominal.model.routing import (
    HEAD_START_SECONDS,
    Alike,
    Candidate,
    Exclusion,
    Route,
    barred,
    claimable_after,
    effective_priority,
    exclusion,
    route_of,
    why_waiting,
)
from loominal.model.work import WorkItem
from tests.unit.factories import NOW, PROJECT, a_claimed_item, a_grant, after, an_agent, an_item


def after_seconds(wait: float | None) -> Callable[[Route], float | None]:
    def claimable(_: Route) -> float | None:
        return wait

    return claimable


ANYONE = after_seconds(0.0)


def first_rule(
    item: WorkItem, agent: Candidate, *others: Candidate, at: float = 0, policy: Policy = DEFAULT_POLICY
) -> str:
    reason = exclusion(item, agent, policy, PROJECT, after(at), others)
    return reason.exclusion if reason else ""


class TestWhoMayTakeIt:
    def test_an_agent_that_meets_every_condition_may(self) -> None:
        assert first_rule(an_item(), an_agent()) == ""

    @pytest.mark.parametrize(
        ("asked", "agent", "first"),
        [
            ({"assign_to": "bob"}, {}, Exclusion.ASSIGNED),
            ({"assign_to": "ann"}, {}, ""),
            ({}, {"status": AgentStatus.OFFLINE}, Exclusion.STATUS),
            ({}, {"status": AgentStatus.BUSY}, ""),
            ({}, {"draining": True}, Exclusion.STATUS),
            ({}, {"grants": ()}, Exclusion.GRANT),
            ({"boundary": "corporate"}, {"agent_type": "copilot-cli"}, Exclusion.GRANT),
            ({"boundary": "corporate"}, {"grants": (a_grant(boundaries=("corporate",)),)}, Exclusion.POLICY),
            ({"boundary": "unheard-of"}, {}, Exclusion.POLICY),
            ({}, {"boundaries": frozenset({"personal"})}, Exclusion.BOUNDARY),
            ({"capabilities": ("python", "gpu")}, {}, Exclusion.CAPABILITY),
            ({"required_agent_type": "claude-code"}, {}, Exclusion.TYPE),
            ({"required_agent_type": "codex"}, {}, ""),
            ({}, {"holding": 1}, Exclusion.ROOM),
            ({}, {"holding": 1, "max_concurrent": 2}, ""),
        ],
        ids=str,
    )
    def test_the_first_rule_that_excludes_is_named(
        self, asked: dict[str, object], agent: dict[str, object], first: str
    ) -> None:
        assert first_rule(an_item(**asked), an_agent(**agent)) == first

    def test_corporate_work_goes_to_the_policys_type_under_an_explicit_grant(self) -> None:
        agent = an_agent(agent_type="copilot-cli", grants=(a_grant(boundaries=(CORPORATE,)),))

        assert first_rule(an_item(boundary="corporate"), agent) == ""


class TestHeadStart:
    ITEM = an_item(boundary="personal")
    PREFERRED = an_agent(id="pam", agent_type="claude-code")

    def test_a_preferred_agent_that_could_take_it_goes_first_for_a_while(self) -> None:
        assert first_rule(self.ITEM, an_agent(), self.PREFERRED) == Exclusion.HEAD_START
        assert first_rule(self.ITEM, self.PREFERRED, an_agent()) == ""
        assert first_rule(self.ITEM, an_agent(), self.PREFERRED, at=HEAD_START_SECONDS) == ""

    @pytest.mark.parametrize(
        "unable",
        [
            {"status": AgentStatus.OFFLINE}, {"status": AgentStatus.BUSY}, {"draining": True}, {"holding": 1},
            {"grants": ()}, {"capabilities": frozenset()}, {"boundaries": frozenset()},
        ],
        ids=str,
    )  # fmt: skip
    def test_one_that_could_not_take_it_now_delays_nobody(self, unable: dict[str, object]) -> None:
        assert first_rule(self.ITEM, an_agent(), replace(self.PREFERRED, **unable)) == ""

    def test_without_a_preferred_agent_nobody_waits(self) -> None:
        assert first_rule(self.ITEM, an_agent(), an_agent(id="bob")) == ""

    def test_the_items_own_preference_goes_before_the_policys(self) -> None:
        item = an_item(boundary="personal", preferred_agent_type="codex")

        assert first_rule(item, an_agent(), self.PREFERRED) == ""
        assert first_rule(item, self.PREFERRED, an_agent()) == Exclusion.HEAD_START

    def test_for_one_assigned_to_an_agent_it_does_not_wait(self) -> None:
        assert first_rule(an_item(boundary="personal", assign_to="ann"), an_agent(), self.PREFERRED) == ""


TYPES = st.sampled_from(["codex", "claude-code", "copilot-cli"])
SOME_TYPES = st.lists(TYPES, max_size=2, unique=True).map(tuple)
BOUNDARIES = st.sampled_from(["corporate", "personal"])
POLICIES = st.builds(
    Policy,
    boundaries=st.dictionaries(BOUNDARIES, st.builds(Rule, agent_types=SOME_TYPES, preferred=SOME_TYPES), max_size=2),
)
AGENTS = st.builds(
    Candidate,
    id=st.sampled_from(["ann", "bob"]),
    agent_type=TYPES,
    capabilities=st.frozensets(st.sampled_from("pq")),
    boundaries=st.frozensets(BOUNDARIES),
    holding=st.sampled_from([0, 0, 1]),
    draining=st.sampled_from([False, False, True]),
    status=st.sampled_from(AgentStatus),
    grants=st.sampled_from([(), (own_user_grant("me"),), (a_grant(boundaries=("corporate",)),)]),
)
ITEMS = st.builds(
    an_item,
    boundary=BOUNDARIES,
    capabilities=st.sampled_from([(), ("p",), ("p", "q")]),
    preferred_agent_type=st.just("") | TYPES,
    required_agent_type=st.just("") | TYPES,
    assign_to=st.sampled_from(["", "", "ann"]),
)


@given(ITEMS, AGENTS, st.lists(AGENTS, max_size=3), POLICIES, st.sampled_from([0, 29, 30, 300]))
def test_an_agent_may_take_an_item_exactly_when_every_rule_holds(
    item: WorkItem, agent: Candidate, others: list[Candidate], policy: Policy, waited: float
) -> None:
    def able(one: Candidate) -> bool:
        allowed = policy.boundaries.get(item.boundary)
        return (
            item.assign_to in ("", one.id)
            and one.status is not AgentStatus.OFFLINE
            and not one.draining
            and any(item.boundary != CORPORATE or CORPORATE in grant.boundaries for grant in one.grants)
            and allowed is not None
            and (not allowed.agent_types or one.agent_type in allowed.agent_types)
            and item.boundary in one.boundaries
            and set(item.capabilities) <= one.capabilities
            and item.required_agent_type in ("", one.agent_type)
            and one.holding < one.max_concurrent
        )

    wanted = {item.preferred_agent_type} - {""} or set(policy.boundaries.get(item.boundary, Rule()).preferred)
    favourites = [one for one in others if one.agent_type in wanted and one.status is AgentStatus.ONLINE and able(one)]
    must_wait = agent.agent_type not in wanted and bool(favourites) and waited < HEAD_START_SECONDS

    assert (exclusion(item, agent, policy, PROJECT, after(waited), others) is None) == (able(agent) and not must_wait)
    wait = claimable_after(route_of(item), agent, policy, PROJECT, after(waited), others)
    assert (wait is not None and waited >= wait) == (able(agent) and not must_wait)
    assert why_waiting(item, [Alike(each, 2) for each in others], policy, PROJECT, after(waited)).endswith(".")


@given(st.integers(1, 10), st.floats(0, 1e7), st.floats(0, 1e7))
def test_waiting_only_raises_priority_and_by_nine_at_most(priority: int, waited: float, longer: float) -> None:
    now = effective_priority(priority, waited)

    assert priority <= now <= priority + 9
    assert effective_priority(priority, waited + longer) >= now
    assert effective_priority(priority, -waited) == priority


def test_after_nine_minutes_the_lowest_priority_is_as_high_as_the_highest_was() -> None:
    assert [effective_priority(1, seconds) for seconds in (0, 59, 60, 540, 9999)] == [1, 1, 2, 10, 10]


class TestReadyIndex:
    def test_the_highest_priority_goes_first_and_then_the_longest_waiting(self) -> None:
        index = filled(("w_old", 5, 0), ("w_high", 9, 20), ("w_new", 5, 10))

        assert drained(index, 20) == ["w_high", "w_old", "w_new"]

    def test_what_waits_rises(self) -> None:
        index = filled(("w_low", 1, 0), ("w_high", 5, 300))

        assert index.best(ANYONE, after(300)) == "w_low"
        assert filled(("w_low", 1, 0), ("w_high", 5, 200)).best(ANYONE, after(200)) == "w_high"

    def test_a_clock_that_was_wrong_when_it_came_keeps_no_item_back(self) -> None:
        index = filled(("w_a", 5, 50))

        assert index.best(ANYONE, NOW) == "w_a"
        assert index.best(after_seconds(30.0), NOW) is None

    def test_the_order_of_arrival_does_not_matter(self) -> None:
        assert drained(filled(("w_b", 5, 2), ("w_a", 5, 1), ("w_c", 5, 3)), 5) == ["w_a", "w_b", "w_c"]

    def test_an_item_that_comes_back_waits_anew(self) -> None:
        index = filled(("w_a", 5, 0), ("w_b", 5, 10), ("w_a", 5, 20))

        assert drained(index, 20) == ["w_b", "w_a"]

    def test_submitters_take_turns(self) -> None:
        index = ReadyIndex()
        for number in range(3):
            for submitter in ("abe", "bea"):
                index.add(an_item(id=f"{submitter}{number}", submitter=submitter), after(number))
        for number in range(3, 30):
            index.add(an_item(id=f"abe{number}", submitter="abe"), NOW)

        assert [name[:3] for name in drained(index, 30)][:6] == ["abe", "bea"] * 3

    def test_the_submitter_with_the_least_being_worked_on_goes_first(self) -> None:
        index = filled(("w_a", 5, 0))
        for number in range(3):
            index.claim(an_item(id=f"abe{number}", submitter="abe"))
        index.claim(an_item(id="bea", submitter="boss"))
        index.add(an_item(id="w_abe", submitter="abe"), NOW)
        assert index.best(ANYONE, NOW) == "w_a"

        for number in range(3):
            index.remove(f"abe{number}")
        assert index.best(ANYONE, NOW) == "w_abe"

    def test_routes_that_the_agent_may_not_take_are_left_alone(self) -> None:
        index = ReadyIndex()
        index.add(an_item(id="w_gpu", capabilities=("gpu",)), NOW)
        index.add(an_item(id="w_py"), NOW)
        agent = an_agent()

        best = index.best(lambda route: claimable_after(route, agent, DEFAULT_POLICY, PROJECT, NOW), NOW)

        assert best == "w_py"
        assert index.best(after_seconds(None), NOW) is None
        assert sorted(index.waiting().values()) == [1, 1]

    def test_a_head_start_hides_what_is_new_and_nothing_else(self) -> None:
        index = filled(("w_new", 9, 20), ("w_old", 1, 0))

        assert index.best(after_seconds(30.0), after(29)) is None
        assert index.best(after_seconds(30.0), after(30)) == "w_old"
        assert index.best(after_seconds(30.0), after(50)) == "w_new"

    def test_choosing_among_many_is_quick(self) -> None:
        index = ReadyIndex()
        for number in range(100_000):
            route = {
                "capabilities": (f"skill{number % 20}",),
                "priority": number % 3 + 1,
                "submitter": f"s{number % 7}",
            }
            index.add(replace(ITEM, id=f"w_{number}", **route), after(number % 977))

        taken = 0
        started = time.perf_counter()
        while taken < 500 and (item_id := index.best(ANYONE, after(1000))):
            index.remove(item_id)
            taken += 1
        seconds_each = (time.perf_counter() - started) / 500

        assert (taken, len(index)) == (500, 99_500)
        assert seconds_each < 0.02  # 0.4 ms for these 420 lines when it was written; a scan of all items takes 100 ms


ITEM = an_item()


def filled(*items: tuple[str, int, float]) -> ReadyIndex:
    index = ReadyIndex()
    for item_id, priority, ready in items:
        index.add(an_item(id=item_id, priority=priority), after(ready))
    return index


def drained(index: ReadyIndex, at: float) -> list[str]:
    taken = []
    while item_id := index.best(ANYONE, after(at)):
        index.claim(replace(ITEM, id=item_id, submitter=item_id[:3]))
        taken.append(item_id)
    return taken


class Shelf(RuleBasedStateMachine):
    """The index beside a plain list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ReadyIndex()
        self.waiting: dict[str, tuple[WorkItem, float]] = {}
        self.working: dict[str, str] = {}
        self.served: dict[str, int] = {}
        self.at = 0.0

    @rule(
        number=st.integers(0, 15),
        priority=st.sampled_from([1, 2]),
        submitter=st.sampled_from("abc"),
        skill=st.sampled_from("pq"),
        ago=st.integers(0, 200),
    )
    def add(self, number: int, priority: int, submitter: str, skill: str, ago: float) -> None:
        item = replace(ITEM, id=f"w_{number:02}", priority=priority, submitter=submitter, capabilities=(skill,))
        self.index.add(item, after(self.at - ago))
        self.working.pop(item.id, None)
        self.waiting[item.id] = item, self.at - ago

    @rule(number=st.integers(0, 15))
    def remove(self, number: int) -> None:
        self.index.remove(f"w_{number:02}")
        self.waiting.pop(f"w_{number:02}", None)
        self.working.pop(f"w_{number:02}", None)

    @rule(seconds=st.integers(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.at += seconds

    @precondition(lambda self: self.waiting)
    @rule(skill=st.sampled_from("pq"), wait=st.sampled_from([0.0, 30.0]))
    def claim_the_best(self, skill: str, wait: float) -> None:
        def rank(item: WorkItem, ready: float) -> tuple[float, ...]:
            load = sum(submitter == item.submitter for submitter in self.working.values())
            urgency = effective_priority(item.priority, self.at - ready)
            return -urgency, load, self.served.get(item.submitter, 0), ready, int(item.id[2:])

        fit = [
            (rank(item, ready), item)
            for item, ready in self.waiting.values()
            if item.capabilities == (skill,) and self.at - ready >= wait
        ]
        expected = min(fit, key=lambda pair: pair[0])[1] if fit else None

        found = self.index.best(lambda route: wait if skill in route.capabilities else None, after(self.at))

        assert found == (expected.id if expected else None)
        if expected:
            self.index.claim(expected)
            del self.waiting[expected.id]
            self.working[expected.id] = expected.submitter
            self.served[expected.submitter] = max(self.served.values(), default=0) + 1

    @invariant()
    def both_hold_the_same(self) -> None:
        assert len(self.index) == len(self.waiting)
        assert sum(self.index.waiting().values()) == len(self.waiting)


TestShelf = Shelf.TestCase


class TestWhyItWaits:
    def test_a_blocked_item_names_what_it_waits_for(self) -> None:
        assert why(an_item(depends_on=("w_a", "w_b"))) == "It waits for w_a, w_b."

    def test_a_scheduled_one_names_the_time(self) -> None:
        assert why(an_item(not_before=after(60))) == "It will be ready at 2026-03-01T12:01:00Z."

    def test_without_agents_it_says_so(self) -> None:
        assert why(an_item()) == "No registered agent is online in this project."

    def test_each_agents_first_reason_is_counted(self) -> None:
        gpu = an_item(capabilities=("gpu",))

        assert why(gpu, an_agent(), an_agent(id="bob"), an_agent(status=AgentStatus.OFFLINE)) == (
            "No agent can take it now, of 3 agents: 2 not registered for 'gpu'; 1 offline."
        )

    def test_an_agent_that_could_is_only_waited_for(self) -> None:
        assert (
            why(an_item(), an_agent(), an_agent(holding=1)) == "1 agent could take it and will when it asks for work."
        )

    def test_what_does_not_wait_has_no_reason(self) -> None:
        assert why(a_claimed_item()) == ""


def why(item: WorkItem, *agents: Candidate) -> str:
    return why_waiting(item, [Alike(agent, 1) for agent in agents], DEFAULT_POLICY, PROJECT, NOW)


def test_a_route_is_barred_by_the_same_rules_whatever_waits() -> None:
    reason = barred(route_of(an_item(capabilities=("gpu",))), an_agent(), DEFAULT_POLICY, PROJECT, NOW)

    assert reason
    assert (reason.exclusion, reason.phrase) == (Exclusion.CAPABILITY, "not registered for 'gpu'")
