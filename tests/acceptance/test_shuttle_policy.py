"""The policy from a terminal: what each flag says is what the hub goes by."""

from __future__ import annotations

import json

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.policy import PolicyView
from loominal.model.policy import DEFAULT_POLICY, Rule
from tests.acceptance.typed import Typed
from tests.integration.fabric import Fabric

FAILED, USAGE = 1, 2


@pytest.fixture
def shuttle(fabric: Fabric, project: str) -> Typed:
    return Typed(fabric, project)


def held(shuttle: Typed) -> PolicyView:
    """Return the policy as a program sees it."""
    return shuttle.asked(Agent.get_policy)


def test_each_flag_changes_what_it_says_and_nothing_else(shuttle: Typed) -> None:
    personal = ("policy", "set", "--boundary", "Personal")
    said = shuttle(*personal, "--agent-type", "codex", "--agent-type", "exec", "--preferred", "codex", "--target", "t")
    first = held(shuttle)
    shuttle(*personal, "--no-spin-up", "--preferred", "", "--no-cross-project", "--stalled", "1m", "--hand-back", "90")
    second = held(shuttle)
    shuttle("policy", "set", "--remove-boundary", "corporate", "--cross-project", "--boundary", "secret", "--spin-up")
    third = held(shuttle)

    types = ("codex", "exec")
    assert first.boundaries == DEFAULT_POLICY.boundaries | {
        "personal": Rule(agent_types=types, preferred=("codex",), targets=("t",))
    }
    assert second.boundaries["personal"] == Rule(agent_types=types, spin_up=False, targets=("t",))
    assert (second.cross_project, second.stalled_seconds, second.hand_back_seconds) == (False, 60, 90)
    assert set(third.boundaries) == {*DEFAULT_POLICY.boundaries, "secret"} - {"corporate"}
    assert (third.cross_project, third.stalled_seconds, third.boundaries["secret"]) == (True, 60, Rule())
    assert "boundaries.personal.agentTypes: - → codex, exec" in said
    assert "there is no target 't' yet" in said
    assert "there is no target 't' yet" in shuttle("policy", "show")


def test_a_change_holds_at_once_for_who_waits_for_work(shuttle: Typed) -> None:
    offer = ("submit", "spin", "--capability", "python", "--boundary")

    shuttle("policy", "set", "--boundary", "secret", "--agent-type", "codex")

    shuttle(*offer, "secret")
    assert "no boundary 'nowhere'" in shuttle(*offer, "nowhere", code=4)


@pytest.mark.parametrize("toml", [True, False])
def test_a_file_is_the_whole_policy(shuttle: Typed, toml: bool) -> None:
    text = (
        'crossProject = false\n[boundaries.only]\npreferred = ["codex"]\n'
        if toml
        else json.dumps({"crossProject": False, "boundaries": {"only": {"preferred": ["codex"]}}})
    )

    shuttle("policy", "set", "--from", "-", "--dry-run", stdin=text)
    assert held(shuttle).version == 0
    shuttle("policy", "set", "--from", "-", stdin=text)

    policy = held(shuttle)
    assert (policy.boundaries, policy.cross_project) == ({"only": Rule(preferred=("codex",))}, False)


def test_what_is_shown_goes_back_in_and_who_was_slower_is_told(shuttle: Typed) -> None:
    shuttle("policy", "set", "--boundary", "first")
    shown = shuttle("policy", "show", "--json")
    unchanged = shuttle.json("policy", "set", "--from", "-", stdin=shown)
    mine = shown.replace('"first"', '"mine"')
    shuttle("policy", "set", "--boundary", "theirs")

    lost = shuttle("policy", "set", "--from", "-", stdin=mine, code=FAILED)
    shuttle("policy", "set", "--boundary", "mine", "--if-version", str(unchanged["version"]), code=FAILED)
    kept = held(shuttle)
    shuttle("policy", "set", "--from", "-", "--if-version", str(kept.version), stdin=mine)

    assert unchanged == json.loads(shown)
    assert "`shuttle policy show`" in lost
    assert "mine" not in kept.boundaries
    assert {"mine"} == set(held(shuttle).boundaries) - set(DEFAULT_POLICY.boundaries)


def test_a_dry_run_shows_what_would_change_and_changes_nothing(shuttle: Typed) -> None:
    change = ("policy", "set", "--boundary", "personal", "--no-spin-up", "--remove-boundary", "corporate", "--dry-run")

    text, document = shuttle(*change), shuttle.json(*change)

    assert all(each in text for each in ("boundaries.personal.spinUp: true → false", "boundaries.corporate: gone"))
    assert (document["boundaries"]["personal"]["spinUp"], "corporate" in document["boundaries"]) == (False, False)
    assert held(shuttle).version == 0


def test_the_table_says_who_may_take_what(shuttle: Typed) -> None:
    shuttle("policy", "set", "--boundary", "personal", "--agent-type", "exec", "--no-spin-up", "--target", "here")

    lines = {line.split()[0]: line.split()[1:] for line in shuttle("policy", "show").splitlines() if line}

    assert lines["personal"] == ["exec", "claude-code", "no"]
    assert lines["open-source"] == ["any", "yes", "any"]
    assert lines["version"] == [str(held(shuttle).version)]


@pytest.mark.parametrize(
    ("arguments", "stdin", "why"),
    [
        ((), "", "Say what to change"),
        (("--from", "-", "--no-cross-project"), "{}", "not both"),
        (("--agent-type", "codex"), "", "Say which --boundary"),
        (("--boundary", "a\nb"), "", "control characters"),
        (("--remove-boundary", "no-such"), "", "none called 'no-such'"),
        (("--stalled", "soon"), "", "no time"),
        (("--stalled", "0"), "", "stalledSeconds"),
        (("--from", "-"), "boundaries = 1", "boundaries"),
        (("--from", "-"), "[boundaries.a]\nagentTyp = 1\n[boundaries.b]\nspinUp = 1", "boundaries.b.spinUp"),
        (("--from", "-"), "{", "no JSON"),
        (("--from", "no-such-file"), "", "no-such-file"),
    ],
)
def test_what_makes_no_policy_is_refused_before_anything_is_sent(
    shuttle: Typed, arguments: tuple[str, ...], stdin: str, why: str
) -> None:
    assert why in shuttle("policy", "set", *arguments, stdin=stdin, code=USAGE)
