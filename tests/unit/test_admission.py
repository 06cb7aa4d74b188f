"""What an agent may register as, under which grants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from loominal.fabric.hub.agents.admission import LABELS_BYTES, MOST_LABELS, Bounds, labels
from loominal.model.errors import BoundaryRefused, Forbidden, InvalidArgument, TooLarge
from loominal.model.grant import Grant, Visibility, own_user_grant
from loominal.model.policy import DEFAULT_POLICY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = own_user_grant("ada")


def bounds(*grants: Grant) -> Bounds:
    return Bounds(grants=grants, policy=DEFAULT_POLICY, project="loom", now=NOW, may_be_person=False)


def test_left_out_boundaries_are_all_that_the_grant_covers() -> None:
    assert bounds(OWN).boundaries("codex", None) == ("corporate-adjacent", "personal", "open-source")


def test_an_explicit_grant_adds_corporate_for_its_agent_type_alone() -> None:
    both = bounds(OWN, Grant(id="g", user="ada", agent_types=("copilot-cli",), boundaries=("corporate",)))

    assert "corporate" in both.boundaries("copilot-cli", None)
    with pytest.raises(BoundaryRefused, match="corporate"):
        both.boundaries("codex", ["corporate"])


def test_a_boundary_that_the_policy_does_not_name_is_refused() -> None:
    with pytest.raises(BoundaryRefused, match="lunar"):
        bounds(OWN).boundaries("codex", ["lunar"])


def test_a_type_that_no_grant_covers_is_refused_by_name() -> None:
    with pytest.raises(Forbidden, match="'codex'") as refused:
        bounds(Grant(id="g", user="ada", agent_types=("gemini",), every_boundary=True)).agent_type("Codex")

    assert "gemini" in refused.value.hint


@pytest.mark.parametrize(
    "grant",
    [
        Grant(id="g", user="ada", projects=("other",), every_boundary=True),
        Grant(id="g", user="ada", every_boundary=True, expires_at=NOW - timedelta(seconds=1)),
    ],
    ids=["of another project", "expired"],
)
def test_a_grant_that_does_not_hold_here_and_now_admits_nobody(grant: Grant) -> None:
    with pytest.raises(Forbidden):
        bounds(grant).agent_type("codex")


def test_a_launched_agent_that_is_not_as_its_target_says_hears_of_both() -> None:
    grant = Grant(
        id="g", user="t", agent_types=("claude-code",), boundaries=("personal",), capabilities=("python", "go")
    )
    launched = msgspec.structs.replace(bounds(grant), target="snakes")

    with pytest.raises(Forbidden, match=r"snakes has agentType 'claude-code', and .* registers with 'exec'") as refused:
        launched.agent_type("exec")
    assert refused.value.hint == "change the target's agentType, or what its command starts"
    with pytest.raises(BoundaryRefused, match=r"snakes has boundaries 'personal', and .* with 'open-source'"):
        launched.boundaries("claude-code", ["personal", "open-source"])
    with pytest.raises(Forbidden, match=r"snakes has capabilities 'go', 'python', and .* with 'rust'"):
        launched.capabilities("claude-code", ["personal"], ["Rust"])


def test_a_capability_outside_the_grant_is_refused_by_name() -> None:
    narrow = bounds(Grant(id="g", user="ada", capabilities=("python",), every_boundary=True))

    assert narrow.capabilities("codex", ["personal"], ["Python"]) == ("Python",)
    with pytest.raises(Forbidden, match="rust"):
        narrow.capabilities("codex", ["personal"], ["python", "rust"])


def test_visibility_is_never_wider_than_the_grant() -> None:
    narrow = bounds(Grant(id="g", user="ada", every_boundary=True, visibility=Visibility.USER_ONLY))

    assert narrow.visibility("codex", None, Visibility.PROJECT_ONLY) is Visibility.USER_ONLY
    assert narrow.visibility("codex", Visibility.PRIVATE, Visibility.PROJECT_ONLY) is Visibility.PRIVATE
    with pytest.raises(Forbidden, match="project-only"):
        narrow.visibility("codex", Visibility.PROJECT_ONLY, Visibility.PROJECT_ONLY)


def test_labels_are_kept_as_given_and_each_once() -> None:
    assert labels([" C++ ", "c++", "node.js", "node-js", "Cafe\u0301", "caf\u00e9"], "capability") == (
        "C++",
        "node.js",
        "node-js",
        "Caf\u00e9",
    )


def test_too_many_or_too_long_labels_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=str(MOST_LABELS)):
        labels([str(n) for n in range(MOST_LABELS + 1)], "capability")
    with pytest.raises(TooLarge, match=str(LABELS_BYTES)):
        labels([chr(0x4E00 + n) * 99 for n in range(60)], "capability")


def test_no_agent_poses_as_a_person() -> None:
    with pytest.raises(Forbidden, match="person"):
        bounds().agent_type("Person")
