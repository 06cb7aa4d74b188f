"""What Shuttle makes of a policy in a file, and of the flags that change the one that holds."""

from __future__ import annotations

import pytest

from loominal.fabric.operations.policy import PolicyView
from loominal.model.errors import IllegalMove, InvalidArgument
from loominal.model.policy import DEFAULT_POLICY, Rule
from loominal.shuttle.policy_changes import changed, plain, unknown_targets, written

HELD = PolicyView(
    version=7,
    boundaries={"personal": Rule(preferred=("claude-code",)), "open-source": Rule()},
    cross_project=True,
    stalled_seconds=900,
    hand_back_seconds=7200,
)


def test_what_show_prints_goes_back_in_with_its_version() -> None:
    policy, version = written({**plain(HELD), "version": 7, "unreadable": False, "unknownTargets": ["t"]})

    assert (plain(policy), version) == (plain(HELD), 7)


def test_what_a_file_leaves_out_gets_its_default() -> None:
    policy, version = written({"boundaries": {"Secret": {"agentTypes": ["Codex", "codex"]}}})

    assert (policy.boundaries, version) == ({"secret": Rule(agent_types=("codex",))}, None)
    assert (policy.cross_project, policy.stalled_seconds) == (True, DEFAULT_POLICY.stalled_seconds)


@pytest.mark.parametrize(
    "document",
    [5, {}, {"boundaries": {"a": 1}}, {"boundaries": {"a": {}, "A": {}}}, {"boundaries": {"a\nb": {}}},
     {"boundaries": {}, "stalledSeconds": 0}, {"boundaries": {}, "crossproject": True}],
)  # fmt: skip
def test_what_makes_no_policy_is_refused(document: object) -> None:
    with pytest.raises(InvalidArgument):
        written(document)


def test_flags_change_what_they_say_and_nothing_else() -> None:
    policy = changed(HELD, {"boundary": "Personal", "agentTypes": ("codex",), "spinUp": False}, [])

    assert policy.boundaries == {
        "personal": Rule(agent_types=("codex",), preferred=("claude-code",), spin_up=False),
        "open-source": Rule(),
    }
    assert changed(HELD, {"boundary": "personal", "preferred": ("",)}, []).boundaries["personal"] == Rule()
    assert changed(HELD, {"boundary": "new"}, []).boundaries["new"] == Rule()
    assert list(changed(HELD, {}, ["open-source"]).boundaries) == ["personal"]
    assert changed(HELD, {"crossProject": False, "stalledSeconds": 60.0}, []).stalled_seconds == 60
    assert HELD.boundaries["personal"].preferred == ("claude-code",)


def test_a_boundary_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(InvalidArgument, match="none called 'secret'"):
        changed(HELD, {}, ["secret"])


def test_a_policy_that_cannot_be_read_is_only_replaced_as_a_whole() -> None:
    unreadable = PolicyView(
        version=8, boundaries={}, cross_project=True, stalled_seconds=1, hand_back_seconds=1, unreadable=True
    )

    with pytest.raises(IllegalMove, match="cannot be read"):
        changed(unreadable, {"boundary": "personal"}, [])


def test_targets_that_a_rule_names_and_that_are_not_there_are_told() -> None:
    policy = changed(HELD, {"boundary": "personal", "targets": ("here", "there")}, [])

    assert [str(each) for each in unknown_targets(policy, ["here"])] == ["personal: there is no target 'there' yet"]
