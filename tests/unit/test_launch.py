"""The life of a launch, and what a target may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import msgspec
import pytest

from loominal.model.errors import IllegalMove, InvalidArgument
from loominal.model.launch import (
    BOOTING,
    CLOSED,
    LIVE,
    MOVES,
    OUTPUT_BYTES,
    Launch,
    LaunchMove,
    LaunchStatus,
    closing,
    moved,
    overdue,
)
from loominal.model.mechanism import Mechanism, checked_config
from loominal.model.target import HealthCheck, Target, checked

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_launch(status: LaunchStatus = LaunchStatus.REQUESTED) -> Launch:
    return Launch(
        id="l_1", target="t_1", target_name="t", mechanism="local", agent_type="exec", status=status, requested_at=NOW
    )


@pytest.mark.parametrize(("status", "move"), list(product(LaunchStatus, LaunchMove)))
def test_a_launch_makes_the_moves_of_the_table_and_no_other(status: LaunchStatus, move: LaunchMove) -> None:
    allowed, after = MOVES[move]
    if status in allowed:
        assert moved(a_launch(status), move, NOW).status is after
    else:
        with pytest.raises(IllegalMove):
            moved(a_launch(status), move, NOW)


def test_what_has_ended_stays_ended() -> None:
    assert not any(status in CLOSED for allowed, _ in MOVES.values() for status in allowed)
    assert frozenset(LaunchStatus) == LIVE | CLOSED
    assert BOOTING < LIVE


@pytest.mark.parametrize(("status", "move"), list(product(LaunchStatus, LaunchMove)))
def test_a_launch_that_is_to_end_ends_so_and_makes_no_other_move(status: LaunchStatus, move: LaunchMove) -> None:
    if status not in MOVES[LaunchMove.STOP][0]:
        with pytest.raises(IllegalMove):
            closing(a_launch(status), LaunchMove.STOP, NOW)
        return
    ending = closing(a_launch(status), LaunchMove.STOP, NOW, detail="why")

    assert (ending.status, ending.ended_at, ending.detail) == (status, None, "why")
    with pytest.raises(IllegalMove):
        closing(ending, move, NOW)
    if move is LaunchMove.STOP:
        assert moved(ending, move, NOW).detail == "why"
    else:
        with pytest.raises(IllegalMove):
            moved(ending, move, NOW)


def test_only_the_end_of_a_failed_start_is_kept() -> None:
    failed = moved(a_launch(), LaunchMove.FAIL, NOW, detail="exit 1", output="ä" * OUTPUT_BYTES + "last line")

    assert failed.output.endswith("last line")
    assert len(failed.output.encode()) <= OUTPUT_BYTES
    assert failed.ended_at == NOW


def test_a_launch_is_overdue_when_its_agent_should_have_come() -> None:
    assert not overdue(a_launch(), NOW + timedelta(seconds=119))
    assert overdue(a_launch(), NOW + timedelta(seconds=121))
    assert not overdue(a_launch(LaunchStatus.REGISTERED), NOW + timedelta(seconds=500))


def a_target(**fields: object) -> Target:
    given = {
        "id": "t_1", "name": "laptop", "agent_type": "Claude-Code", "capabilities": ("Py", "py"),
        "boundaries": ("personal",), "mechanism": Mechanism.LOCAL,
        "config": msgspec.Raw(b'{"command":["loominal","agent","run"]}'), "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Target(**{**given, **fields})  # type: ignore[arg-type]


def test_labels_of_a_target_are_kept_as_they_are_compared() -> None:
    found = checked(a_target())

    assert (found.agent_type, found.capabilities) == ("claude-code", ("py",))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "-rf"), ("name", "a b"), ("name", "x\ny"), ("boundaries", ()), ("max_concurrent", 0),
        ("max_concurrent", 1001), ("cooldown_seconds", -1.0), ("cooldown_seconds", float("nan")),
        ("idle_seconds", float("inf")), ("boot_timeout_seconds", 0.0), ("capabilities", ("a\x07",)),
        ("capabilities", tuple(map(str, range(65)))), ("health_check", HealthCheck(interval_seconds=0)),
    ],
)  # fmt: skip
def test_a_target_with_a_value_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument):
        checked(a_target(**{field: value}))


@pytest.mark.parametrize(
    ("mechanism", "config"),
    [
        ("local", {}), ("local", {"command": []}), ("local", {"command": ["a\0b"]}), ("local", {"command": ["-x"]}),
        ("local", {"command": ["x"], "env": {"A;B": "1"}}), ("local", {"command": ["x"], "env": {"LD_PRELOAD": "x"}}),
        ("local", {"command": ["x"], "env": {"LOOMINAL_HOME": "x"}}), ("local", {"command": "rm -rf"}),
        ("local", {"command": ["x"], "extra": 1}), ("local", {"command": ["x"], "cwd": "a\nb"}),
        ("local", {"command": ["x"], "cwd": "a/b"}),
        ("ssh", {"host": "-oProxyCommand=x", "user": "u", "command": ["x"]}),
        ("ssh", {"host": "h", "user": "-l", "command": ["x"]}), ("ssh", {"host": "u@h", "user": "u", "command": ["x"]}),
        ("ssh", {"host": "h", "user": "u", "port": 70000, "command": ["x"]}),
        ("ssh", {"host": "h;x", "user": "u", "command": ["x"]}),
        ("ssh", {"host": "h", "user": "$(x)", "command": ["x"]}),
        ("kubernetes", {"namespace": "A_b", "image": "x"}), ("kubernetes", {"namespace": "a", "image": "x y"}),
        ("github-actions", {"repo": "a/b/c", "workflow": "x.yml"}),
        ("github-actions", {"repo": "../..", "workflow": "x.yml"}),
        ("github-actions", {"repo": "a/b", "workflow": "../x.yml"}),
        ("github-actions", {"repo": "a/b", "workflow": "x.yml", "tokenEnv": "A B"}),
        ("webhook", {"url": "file:///etc/passwd"}), ("webhook", {"url": "http://u:p@h/"}),
        ("webhook", {"url": "https://[::1"}), ("webhook", {"url": "https:///x"}), ("webhook", {"url": "https://h:0/"}),
        ("webhook", {"url": "https://h:99999/"}), ("webhook", {"url": "https://a\u2100b/"}),
        ("github-actions", {"repo": "a/b", "workflow": "x.yml", "apiUrl": "https://[::1"}),
        ("webhook", {"url": "http://h/", "headers": {"X": "a\r\nb"}}),
        ("webhook", {"url": "http://h/", "headers": {"Host": "x"}}),
        ("webhook", {"url": "http://h/", "successCodes": [302]}),
    ],
)  # fmt: skip
def test_a_mechanism_is_told_nothing_that_could_mean_something_else(mechanism: str, config: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        checked_config(Mechanism(mechanism), msgspec.json.encode(config))


def test_every_mechanism_takes_what_the_contract_says() -> None:
    for mechanism, config in {
        "local": {"command": ["x"], "cwd": "/w", "env": {"A": "b;$(c)"}, "host": "here"},
        "ssh": {"host": "h.example", "user": "u", "port": 22, "identityFile": "/k", "knownHostsFile": "/kh",
                "command": ["x"], "cwd": "/w", "env": {}, "connectTimeoutSeconds": 30},
        "kubernetes": {"namespace": "n", "image": "r:5000/x@sha256:0", "command": ["x"], "args": ["y"], "env": {},
                       "resources": {"limits": {"cpu": "1"}}, "serviceAccount": "s", "imagePullSecret": "p",
                       "context": "c", "kubeconfig": "/k", "ttlSecondsAfterFinished": 300, "activeDeadlineSeconds": 60},
        "github-actions": {"repo": "o/r.s", "workflow": "w.yml", "ref": "feature/x", "inputs": {"a": "b"},
                           "tokenEnv": "GITHUB_TOKEN", "apiUrl": "https://ghe.example/api/v3"},
        "webhook": {"url": "https://h/x?y=1", "method": "PUT", "headers": {"X-A": "b"}, "body": {"id": "{launchId}"},
                    "secretEnv": "S", "successCodes": [200], "timeoutSeconds": 5},
    }.items():  # fmt: skip
        checked_config(Mechanism(mechanism), msgspec.json.encode(config))


def test_one_whose_agent_was_not_let_in_ends_with_the_reason_unless_it_came_after_all() -> None:
    launch = msgspec.structs.replace(a_launch(), refusal="its agent was not let in: no")
    came = msgspec.structs.replace(launch, status=LaunchStatus.REGISTERED)

    failed = closing(launch, LaunchMove.FAIL, NOW, detail="no agent has come: exit code 4")
    stopped = closing(came, LaunchMove.STOP, NOW, detail="it has ended")

    assert failed.detail == "its agent was not let in: no; no agent has come: exit code 4"
    assert stopped.detail == "it has ended"
