"""Who is online, by what was heard of each agent's process and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.hub.agents.presence import Presence
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.identity import Hello

TIMES = Timings()
HELLO = Hello(client="codex", hostname="loom-1")
A = "agent-a"


@pytest.fixture
def presence() -> Presence:
    return Presence(since=0.0)


def online(presence: Presence, now: float) -> bool:
    return presence.is_online(A, now, TIMES)


@pytest.mark.pitfall(11)
def test_an_agent_is_online_until_15_seconds_after_its_last_sign_of_life(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 100.0)
    presence.beat(A, "one", 105.0)

    assert online(presence, 119.9)
    assert not online(presence, 120.0)


def test_an_agent_that_comes_back_is_online_again(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    assert presence.offline_now(20.0, TIMES) == [A]

    assert presence.beat(A, "one", 60.0)

    assert online(presence, 61.0)
    assert presence.offline_now(80.0, TIMES) == [A]


def test_someone_is_there_until_the_last_going_offline_was_reported(presence: Presence) -> None:
    assert not presence.someone.is_set()
    presence.beat(A, "one", 0.0)
    presence.hello("agent-b", "two", HELLO, 10.0)

    there = [presence.offline_now(now, TIMES) and presence.someone.is_set() for now in (20.0, 30.0)]

    assert there == [True, False]


def test_going_offline_is_reported_once(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)

    reports = [presence.offline_now(now, TIMES) for now in (10.0, 16.0, 17.0)]

    assert reports == [[], [A], []]


def test_a_process_that_says_it_leaves_is_offline_at_once(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    presence.beat(A, "one", 5.0, leaving=True)

    assert not online(presence, 5.0)
    assert not presence.has_left(A, 14.9, TIMES)
    assert presence.has_left(A, 15.0, TIMES)


def test_a_request_of_a_hook_does_not_bring_back_a_process_that_left(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    presence.left(A, 5.0)

    assert presence.seen(A, "one", 6.0)

    assert not online(presence, 6.0)


def test_a_disconnect_counts_after_the_grace(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    presence.disconnected(A, 1.0)

    assert online(presence, 10.9)
    assert not online(presence, 11.0)


@pytest.mark.parametrize("closed", [True, False])
def test_only_a_connection_that_its_own_side_closed_is_an_end_that_was_seen(presence: Presence, closed: bool) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    presence.disconnected(A, 1.0, closed=closed)

    assert not presence.seen_to_end(A, 10.9, TIMES)
    assert presence.seen_to_end(A, 11.0, TIMES) is closed


def test_a_disconnect_is_forgotten_when_the_agent_is_heard_again(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    presence.disconnected(A, 1.0, closed=True)
    presence.beat(A, "one", 6.0)

    assert online(presence, 12.0)
    assert not presence.seen_to_end(A, 30.0, TIMES)


def test_silence_without_a_disconnect_is_no_end_that_was_seen(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)

    assert not online(presence, 60.0)
    assert not presence.seen_to_end(A, 60.0, TIMES)


def test_a_new_process_takes_over_by_saying_hello(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)

    replaced = presence.hello(A, "two", HELLO, 1.0)

    assert replaced == "one"
    assert presence.current(A) == "two"
    assert not presence.seen(A, "one", 2.0)
    assert presence.seen(A, "two", 2.0)


def test_the_last_heartbeat_of_a_replaced_process_takes_nobody_offline(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)
    presence.hello(A, "two", HELLO, 1.0)

    assert not presence.beat(A, "one", 2.0, leaving=True)

    assert online(presence, 3.0)


def test_saying_hello_again_replaces_nobody(presence: Presence) -> None:
    presence.hello(A, "one", HELLO, 0.0)

    assert presence.hello(A, "one", Hello(hostname="loom-2"), 1.0) == ""

    assert presence.greeting(A).hostname == "loom-2"


def test_after_a_restart_of_the_hub_the_first_process_heard_is_the_current_one(presence: Presence) -> None:
    assert presence.seen(A, "one", 1.0)

    assert presence.current(A) == "one"
    assert not presence.seen(A, "two", 2.0)


def test_a_hub_that_has_just_begun_to_listen_declares_nobody_gone() -> None:
    presence = Presence(since=100.0)

    assert not presence.is_gone(A, 114.0, TIMES)
    assert presence.is_gone(A, 115.0, TIMES)


def test_a_hub_that_could_not_listen_gives_everybody_time_to_be_heard(presence: Presence) -> None:
    presence.hello("agent-c", "one", HELLO, -60.0)
    presence.hello(A, "one", HELLO, 0.0)
    presence.hello("agent-b", "one", HELLO, 0.0)
    presence.left("agent-b", 1.0)
    presence.offline_now(10.0, TIMES)

    presence.renew(30.0)

    assert presence.is_online(A, 44.0, TIMES)
    assert not presence.is_online("agent-b", 31.0, TIMES)
    assert not presence.is_online("agent-c", 31.0, TIMES)


def test_nothing_is_known_of_an_agent_never_heard(presence: Presence) -> None:
    presence.disconnected(A, 1.0)
    presence.polled(A, 1.0)
    presence.left(A, 1.0)

    assert presence.current(A) == ""
    assert presence.seen_at(A) is None
    assert presence.polled_at(A) is None
    assert not online(presence, 1.0)


CREW = ("agent-a", "agent-b", "agent-c", "agent-d")
HEARD = ("hello", "other", "beat", "leave", "disconnect", "close", "connect", "left", "seen", "renew", "round", "wait")


@given(st.lists(st.tuples(st.sampled_from(HEARD), st.sampled_from(CREW), st.sampled_from([0.0, 0.5, 4.0, 11.0]))))
def test_who_is_online_among_many_is_who_is_online_one_by_one(heard: list[tuple[str, str, float]]) -> None:
    presence, now = Presence(since=0.0), 0.0
    reported: set[str] = set()
    for what, agent, seconds in heard:
        now += seconds
        match what:
            case "hello" | "other":
                presence.hello(agent, what, HELLO, now)
            case "beat" | "leave":
                presence.beat(agent, "hello", now, leaving=what == "leave")
            case "disconnect" | "close":
                presence.disconnected(agent, now, closed=what == "close")
            case "connect":
                presence.connected(agent, now)
            case "left":
                presence.left(agent, now)
            case "seen":
                presence.seen(agent, "hello", now)
            case "renew":
                presence.renew(now)
            case "round":
                reported.update(presence.offline_now(now, TIMES))

        online = {each for each in CREW if presence.is_online(each, now, TIMES)}
        assert presence.among({*CREW, "stranger"}, now, TIMES) == online
        assert presence.online_count(now, TIMES) == len(online)
        assert presence.someone.is_set() or not online
    ever = {agent for what, agent, _ in heard if presence.seen_at(agent) is not None}
    last = set(presence.offline_now(now + 100, TIMES))
    assert last | reported <= ever
    assert not presence.someone.is_set()
