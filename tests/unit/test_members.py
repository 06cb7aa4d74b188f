"""Who is alive among the wefts, and who leads what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loominal.model.members import RENEW_SECONDS, Sightings, order

WEFTS = st.sets(st.text("abc123", min_size=1, max_size=4), min_size=2, max_size=6)


@given(WEFTS, st.text("pq0", min_size=1, max_size=8))
def test_a_project_changes_hands_only_when_its_own_leader_goes(wefts: set[str], project: str) -> None:
    leader, *rest = order(project, wefts)

    assert order(project, wefts - {rest[-1]})[0] == leader
    assert order(project, wefts - {leader})[0] == rest[0]


def test_a_weft_whose_record_stands_still_is_dead_after_four_renewals_of_two_seconds() -> None:
    sightings = Sightings("me")
    for tick in range(4):
        sightings.renewed({"me": tick, "you": 7}, tick * RENEW_SECONDS)
        assert sightings.alive(tick * RENEW_SECONDS) == {"me", "you"}
    sightings.renewed({"me": 4, "you": 7}, 2.0)

    assert sightings.is_dead("you", 2.0)
    assert sightings.alive(2.0) == {"me"}


def test_a_copy_in_which_ones_own_record_stands_still_says_nothing_of_others() -> None:
    sightings = Sightings("me")
    for tick in range(10):
        sightings.renewed({"me": 1, "you": 7}, tick * RENEW_SECONDS)

    assert not sightings.is_dead("you", 5.0)
    assert sightings.sure(5.0)


def test_one_that_moves_again_is_alive_again() -> None:
    sightings = Sightings("me")
    for tick in range(6):
        sightings.renewed({"you": 7}, tick * RENEW_SECONDS)
    sightings.renewed({"you": 8}, 3.0)

    assert not sightings.is_dead("you", 3.0)


def test_whoever_could_not_renew_judges_nobody_from_before() -> None:
    sightings = Sightings("me")
    for tick in range(4):
        sightings.renewed({"you": 7}, tick * RENEW_SECONDS)
    sightings.restart()
    sightings.renewed({"you": 7}, 60.0)

    assert not sightings.sure(63.0)
    assert not sightings.is_dead("you", 63.0)


def test_few_renewals_over_a_long_time_are_not_enough() -> None:
    sightings = Sightings("me")
    sightings.renewed({"you": 7}, 0.0)
    sightings.renewed({"you": 7}, 30.0)

    assert not sightings.is_dead("you", 30.0)


def test_a_weft_that_has_no_record_is_dead_only_after_as_long() -> None:
    sightings = Sightings("me")
    for tick in range(4):
        sightings.renewed({"me": tick}, tick * RENEW_SECONDS)
        assert not sightings.is_dead("you", tick * RENEW_SECONDS)
    sightings.renewed({"me": 4}, 2.0)

    assert sightings.is_dead("you", 2.0)
    sightings.restart()
    assert not sightings.is_dead("you", 60.0)


def test_a_record_that_is_gone_is_no_weft() -> None:
    sightings = Sightings("me")
    sightings.renewed({"me": 1, "you": 7}, 0.0)
    sightings.renewed({"me": 2}, 0.5)

    assert sightings.alive(0.5) == {"me"}
