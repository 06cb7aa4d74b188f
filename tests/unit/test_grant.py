from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.model.errors import BoundaryRefused
from loominal.model.grant import CORPORATE, Grant, Role, Visibility, allows, covers, own_user_grant, reach, within
from loominal.model.policy import DEFAULT_POLICY
from tests.unit.factories import NOW, a_grant, after

SOME = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2).map(tuple)
GRANTS = st.builds(
    Grant,
    id=st.just("g"),
    user=st.just("me"),
    role=st.sampled_from(Role),
    projects=SOME,
    agent_types=SOME,
    boundaries=st.lists(st.sampled_from(["a", "b", CORPORATE]), max_size=2).map(tuple),
    every_boundary=st.booleans(),
    capabilities=SOME,
    expires_at=st.sampled_from([None, after(-1), NOW, after(1)]),
)
ASKED = {"project": "p1", "agent_type": "codex", "boundary": "personal", "capabilities": ("python",), "now": NOW}


def covered(grant: Grant, **asked: object) -> bool:
    return covers(grant, **(ASKED | asked))  # type: ignore[arg-type]  # the test names the one thing it changes


def test_the_fabrics_own_user_may_everything_but_corporate_work() -> None:
    grant = own_user_grant("me")

    assert covered(grant)
    assert covered(grant, boundary="whatever", capabilities=("x", "y"), project="other")
    assert not covered(grant, boundary=CORPORATE)
    assert grant.role is Role.OPERATOR


def test_corporate_work_needs_an_explicit_listing() -> None:
    assert covered(a_grant(boundaries=(CORPORATE,)), boundary=CORPORATE)


@pytest.mark.parametrize(
    "narrow",
    [
        {"projects": ("p2",)}, {"agent_types": ("claude-code",)},
        {"boundaries": ("open-source",), "every_boundary": False},
        {"boundaries": (), "every_boundary": False}, {"capabilities": ("rust",)}, {"role": Role.OBSERVER},
        {"expires_at": NOW},
    ],
    ids=str,
)  # fmt: skip
def test_a_narrower_grant_does_not_cover_what_is_outside_it(narrow: dict[str, object]) -> None:
    assert not covered(a_grant(**narrow))


def test_every_capability_must_be_granted() -> None:
    assert not covered(a_grant(capabilities=("python",)), capabilities=("python", "rust"))


def test_two_grants_that_each_cover_half_do_not_add_up() -> None:
    halves = [a_grant(projects=("p1",), capabilities=("rust",)), a_grant(projects=("p2",), capabilities=("python",))]

    assert not allows(halves, **ASKED)  # type: ignore[arg-type]  # one table of arguments for the module


@given(
    st.lists(GRANTS, max_size=3), st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from(["a", CORPORATE]), SOME
)
def test_what_is_allowed_is_what_one_grant_covers(
    grants: list[Grant], project: str, agent_type: str, boundary: str, capabilities: tuple[str, ...]
) -> None:
    allowed = allows(
        grants, project=project, agent_type=agent_type, boundary=boundary, capabilities=capabilities, now=NOW
    )

    assert allowed == any(
        grant.role is not Role.OBSERVER
        and (grant.expires_at is None or grant.expires_at > NOW)
        and (not grant.projects or project in grant.projects)
        and (not grant.agent_types or agent_type in grant.agent_types)
        and (boundary in grant.boundaries or (grant.every_boundary and boundary != CORPORATE))
        and (not grant.capabilities or set(capabilities) <= set(grant.capabilities))
        for grant in grants
    )


def test_visibility_has_an_order() -> None:
    assert within(Visibility.PRIVATE, Visibility.PROJECT_ONLY)
    assert within(Visibility.PUBLIC, Visibility.PUBLIC)
    assert not within(Visibility.PROJECT_ONLY, Visibility.USER_ONLY)


def test_the_default_policy_is_the_documented_one() -> None:
    assert DEFAULT_POLICY.rule("corporate").agent_types == ("copilot-cli",)
    assert DEFAULT_POLICY.rule("corporate-adjacent").preferred == ("copilot-cli",)
    assert DEFAULT_POLICY.rule("personal").preferred == ("claude-code",)
    assert DEFAULT_POLICY.rule("open-source").agent_types == ()


def test_a_boundary_the_policy_does_not_name_is_refused_with_those_it_does() -> None:
    with pytest.raises(BoundaryRefused) as refusal:
        DEFAULT_POLICY.rule("secret\n")

    assert "\n" not in refusal.value.message
    assert "open-source" in refusal.value.hint


def test_grants_reach_what_they_name_while_they_last_and_one_that_names_nothing_reaches_all() -> None:
    here, over = a_grant(projects=("p2",)), a_grant(projects=("p3",), expires_at=NOW)

    assert reach([here, over], project="p1", now=NOW) == ("p1", "p2")
    assert reach([here, own_user_grant("me")], project="p1", now=NOW) == ()
    assert reach([a_grant(projects=(), expires_at=NOW)], project="p1", now=NOW) == ("p1",)
