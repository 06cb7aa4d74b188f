"""How many agents are started where, and which are ended: tables for what people expect, properties for the bounds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.model.agent import AgentStatus
from loominal.model.grant import Grant
from loominal.model.mechanism import Mechanism
from loominal.model.policy import DEFAULT_POLICY, Policy, Rule
from loominal.model.routing import Candidate, Route
from loominal.model.scaling import LASTING, Place, Waiting, Worker, barred_target, decide
from loominal.model.target import Target

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
ANY = Policy(boundaries={"personal": Rule(), "open-source": Rule()})


def a_route(*capabilities: str, boundary: str = "personal", required: str = "") -> Route:
    return Route(capabilities=frozenset(capabilities), boundary=boundary, required_agent_type=required)


def a_target(name: str = "t", *capabilities: str, **fields: object) -> Target:
    given = {
        "agent_type": "claude-code", "capabilities": capabilities, "boundaries": ("personal",), "max_concurrent": 3,
        "mechanism": Mechanism.LOCAL, "config": msgspec.Raw(b'{"command":["x"]}'), "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Target(id=f"t_{name}", name=name, **{**given, **fields})  # type: ignore[arg-type]


def a_worker(name: str, *capabilities: str, polled: bool = True, holding: int = 0, **fields: object) -> Worker:
    of_candidate = {key: fields.pop(key) for key in ("max_concurrent", "draining", "status") if key in fields}
    candidate = Candidate(
        id=name,
        agent_type="claude-code",
        capabilities=frozenset(capabilities),
        boundaries=frozenset({"personal", "open-source"}),
        holding=holding,
        grants=(Grant(id="g", user="ada", every_boundary=True),),
        polled_at=NOW if polled else LONG_AGO,
        **of_candidate,  # type: ignore[arg-type]
    )
    return Worker(candidate=candidate, **fields)  # type: ignore[arg-type]


def waits(count: int, *capabilities: str, **fields: str) -> Waiting:
    return Waiting(route=a_route(*capabilities, **fields), count=count, oldest="w_1")


def starts(waiting: list[Waiting], workers: list[Worker], places: list[Place], policy: Policy = ANY) -> Counter[str]:
    return Counter(each.target for each in decide(waiting, workers, places, policy, "shop", NOW).starts)


@pytest.mark.parametrize(
    ("waiting", "workers", "places", "expected"),
    [
        ([waits(2, "py")], [], [Place(target=a_target("t", "py"))], 2),
        ([waits(9, "py")], [], [Place(target=a_target("t", "py"))], 3),
        ([waits(1, "py")], [a_worker("idle", "py")], [Place(target=a_target("t", "py"))], 0),
        ([waits(2, "py")], [a_worker("idle", "py")], [Place(target=a_target("t", "py"))], 1),
        ([waits(1, "py")], [a_worker("busy", "py", "go", holding=1)], [Place(target=a_target("t", "py"))], 1),
        ([waits(1, "py")], [a_worker("drains", "py", draining=True)], [Place(target=a_target("t", "py"))], 1),
        ([waits(1, "py")], [a_worker("types", "py", polled=False)], [Place(target=a_target("t", "py"))], 1),
        ([waits(1, "py")], [a_worker("off", "py", status=AgentStatus.OFFLINE)], [Place(target=a_target("t", "py"))], 1),
        ([waits(3, "py")], [a_worker("wide", "py", max_concurrent=3)], [Place(target=a_target("t", "py"))], 0),
        ([waits(2, "py")], [], [Place(target=a_target("t", "py"), booting=1)], 1),
        ([waits(1, "py")], [], [Place(target=a_target("t", "py"), booting=1)], 0),
        ([waits(5, "py")], [], [Place(target=a_target("t", "py"), registered=2)], 1),
        ([waits(1, "py")], [], [Place(target=a_target("t", "go"))], 0),
        ([waits(1, "py")], [], [Place(target=a_target("t", "py", enabled=False))], 0),
        ([waits(1, "py")], [], [Place(target=a_target("t", "py"), ailing="down")], 0),
        ([waits(1, "py")], [], [Place(target=a_target("t", "py"), started_at=NOW - timedelta(seconds=5))], 0),
        ([waits(2, "py")], [], [Place(target=a_target("t", "py"), started_at=NOW - timedelta(seconds=31))], 2),
        ([waits(2, "py")], [], [Place(target=a_target("t", "py"), failures=1, failed_at=LONG_AGO)], 1),
        ([waits(2, "py")], [], [Place(target=a_target("t", "py"), failures=3, failed_at=NOW)], 0),
        ([waits(1, "py", boundary="corporate")], [], [Place(target=a_target("t", "py"))], 0),
        ([waits(1, "py", required="codex")], [], [Place(target=a_target("t", "py"))], 0),
    ],
)
def test_as_many_agents_are_started_as_the_work_needs(
    waiting: list[Waiting], workers: list[Worker], places: list[Place], expected: int
) -> None:
    assert starts(waiting, workers, places).total() == expected


def test_one_slot_serves_one_item_and_the_most_constrained_route_first() -> None:
    both = a_worker("both", "py", "go")
    only = a_worker("only", "py")
    work = [waits(1, "py"), Waiting(route=a_route("go"), count=1, oldest="w_2")]

    assert not starts(work, [both, only], [Place(target=a_target("t", "py", "go"))])
    assert starts(work, [both], [Place(target=a_target("t", "py", "go"))]).total() == 1


def test_a_target_of_a_preferred_type_is_used_first_then_the_tightest() -> None:
    policy = Policy(boundaries={"personal": Rule(preferred=("codex",))})
    wide = Place(target=a_target("wide", "py", "go", agent_type="codex"))
    tight = Place(target=a_target("tight", "py", agent_type="codex"))
    other = Place(target=a_target("other", "py"))

    assert starts([waits(1, "py")], [], [wide, other, tight], policy) == {"t_tight": 1}
    assert starts([waits(4, "py")], [], [wide, other, tight], policy) == {"t_tight": 3, "t_wide": 1}


def test_the_policy_says_for_which_boundary_agents_are_started_and_where() -> None:
    here, there = Place(target=a_target("here", "py")), Place(target=a_target("there", "py"))
    named = Policy(boundaries={"personal": Rule(targets=("there",))})
    never = Policy(boundaries={"personal": Rule(spin_up=False)})
    unreadable = msgspec.structs.replace(ANY, closed=True)

    assert starts([waits(1, "py")], [], [here, there], named) == {"t_there": 1}
    assert not starts([waits(1, "py")], [], [here, there], never)
    assert not starts([waits(1, "py")], [], [here, there], unreadable)


def test_corporate_work_starts_nobody_but_an_approved_type() -> None:
    work = [waits(1, "py", boundary="corporate")]
    unapproved = Place(target=a_target("a", "py", boundaries=("corporate",)))
    approved = Place(target=a_target("b", "py", boundaries=("corporate",), agent_type="copilot-cli"))

    assert not starts(work, [], [unapproved], DEFAULT_POLICY)
    assert starts(work, [], [unapproved, approved], DEFAULT_POLICY) == {"t_b": 1}


def test_a_route_that_gets_too_little_says_which_it_is_and_what_keeps_each_target_from_it() -> None:
    places = [
        Place(target=a_target("at-work", "py", "go", max_concurrent=1), registered=1),
        Place(target=a_target("gophers", "go")),
        Place(target=a_target("off", "py", enabled=False)),
        Place(target=a_target("wide", "py", "go", agent_type="codex")),
    ]
    claude = Waiting(route=a_route("py", "go", required="claude-code"), count=2, oldest="w_1")

    unmet = decide([claude, waits(1, "rust", boundary="open-source")], [], places, ANY, "shop", NOW).unmet
    nowhere = decide([waits(1)], [], [], ANY, "shop", NOW).unmet

    assert unmet == {
        claude.route: "No agent is started for 'personal' work for 'go', 'py' by agents of the type 'claude-code' now:"
        " at-work is at its maximum of 1; wide is of the type 'codex', not 'claude-code'; gophers is without 'py';"
        " off is disabled.",
        a_route("rust", boundary="open-source"): "No agent is started for 'open-source' work for 'rust' now:"
        " at-work is not for the boundary 'open-source'; gophers is not for the boundary 'open-source';"
        " wide is not for the boundary 'open-source'; off is disabled.",
    }
    assert list(nowhere.values()) == ["No agent is started for 'personal' work: there is no target."]


def test_of_many_targets_those_that_come_nearest_are_told_of() -> None:
    places = [Place(target=a_target(f"off{number}", "py", enabled=False)) for number in range(10)]
    full = Place(target=a_target("t", "py", max_concurrent=1), registered=1)

    [why] = decide([waits(1, "py")], [], [*places, full], ANY, "shop", NOW).unmet.values()

    assert "now: t is at its maximum of 1; off0 is disabled; " in why
    assert why.endswith("off8 is disabled; and 1 more.")


def test_idle_agents_that_a_launch_started_are_ended_one_of_a_target_at_a_time() -> None:
    place = Place(target=a_target("t", "py", idle_seconds=60), registered=2)
    first = a_worker("a", "py", target="t_t", launch="l_1", idle_since=NOW - timedelta(seconds=90))
    second = a_worker("b", "py", target="t_t", launch="l_2", idle_since=NOW - timedelta(seconds=80))
    fresh = a_worker("c", "py", target="t_t", launch="l_3", idle_since=NOW - timedelta(seconds=10))
    unknown = a_worker("d", "py", target="t_t", launch="l_4")
    own = a_worker("e", "py", idle_since=LONG_AGO)

    decision = decide([], [second, first, fresh, unknown, own], [place], ANY, "shop", NOW)
    already = decide([], [second, first], [msgspec.structs.replace(place, draining=1)], ANY, "shop", NOW)
    needed = decide([waits(2, "py")], [second, first], [place], ANY, "shop", NOW)

    assert decision.drains == ("l_1",)
    assert already.drains == ()
    assert needed.drains == ()


NAMES = st.sampled_from(["py", "go", "ts"])
ROUTES = st.builds(a_route, NAMES, boundary=st.sampled_from(["personal", "open-source", "corporate"])) | st.builds(
    a_route, NAMES, NAMES
)
WAITING = st.lists(
    st.builds(Waiting, route=ROUTES, count=st.integers(1, 20), oldest=st.just("w_1")),
    max_size=5,
    unique_by=lambda each: each.route,
)
TARGETS = st.builds(
    lambda number, capabilities, boundaries, most, cooldown: (number, capabilities, boundaries, most, cooldown),
    st.integers(0, 9),
    st.sets(NAMES),
    st.sets(st.sampled_from(["personal", "open-source", "corporate"]), min_size=1),
    st.integers(1, 6),
    st.sampled_from([0.0, 30.0]),
)
PLACES = st.lists(
    st.tuples(TARGETS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), st.booleans(), st.booleans()),
    max_size=5,
    unique_by=lambda each: each[0][0],
).map(
    lambda found: [
        Place(
            target=a_target(
                f"n{number}", *sorted(capabilities), boundaries=tuple(sorted(boundaries)), max_concurrent=most,
                cooldown_seconds=cooldown,
            ),
            booting=booting,
            registered=registered,
            failures=failures,
            failed_at=LONG_AGO if failures else None,
            started_at=NOW - timedelta(seconds=3) if recent else None,
            ailing="" if healthy else "down",
        )
        for (number, capabilities, boundaries, most, cooldown), booting, registered, failures, healthy, recent in found
    ]
)  # fmt: skip
WORKERS = st.lists(
    st.tuples(st.sets(NAMES), st.integers(0, 2), st.integers(1, 3), st.booleans(), st.booleans()), max_size=5
).map(
    lambda found: [
        a_worker(
            f"a{place}", *sorted(capabilities), holding=holding, max_concurrent=most, polled=polled, draining=drains
        )
        for place, (capabilities, holding, most, polled, drains) in enumerate(found)
    ]
)


@given(WAITING, WORKERS, PLACES)
def test_no_target_ever_has_more_than_its_maximum(
    waiting: list[Waiting], workers: list[Worker], places: list[Place]
) -> None:
    started = starts(waiting, workers, places)

    for place in places:
        most = max(place.target.max_concurrent, place.live)
        assert place.live + started[place.target.id] <= most


@given(WAITING, WORKERS, PLACES)
def test_no_route_starves_while_a_target_could_start_an_agent_for_it(
    waiting: list[Waiting], workers: list[Worker], places: list[Place]
) -> None:
    decision = decide(waiting, workers, places, ANY, "shop", NOW)
    planned = Counter(each.target for each in decision.starts)

    for route in decision.unmet:
        assert all(barred_target(route, place, ANY, NOW, planned[place.target.id]) for place in places)


@given(WAITING, WORKERS, PLACES)
def test_never_more_is_started_than_waits_and_nothing_where_the_target_is_barred_for_good(
    waiting: list[Waiting], workers: list[Worker], places: list[Place]
) -> None:
    by_id = {place.target.id: place for place in places}
    counts = {each.route: each.count for each in waiting}

    decision = decide(waiting, workers, places, ANY, "shop", NOW)

    for route, started in Counter(each.route for each in decision.starts).items():
        assert started <= counts[route]
    for each in decision.starts:
        why = barred_target(each.route, by_id[each.target], ANY, NOW)
        assert why is None or why.bar not in LASTING


@given(st.integers(1, 10), st.integers(1, 10), PLACES)
def test_free_agents_that_may_take_the_work_mean_no_launch(count: int, more: int, places: list[Place]) -> None:
    idle = [a_worker(f"i{number}", "py") for number in range(count + more)]

    assert not starts([waits(count, "py")], idle, places)
