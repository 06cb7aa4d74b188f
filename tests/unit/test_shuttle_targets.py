"""What Shuttle makes of flags and files that say targets: everything that is wrong at once, and nothing lost."""

from __future__ import annotations

import io
import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.targets import AddTarget, TargetView
from loominal.model.errors import InvalidArgument
from loominal.model.mechanism import CONFIGS, Mechanism
from loominal.shuttle.documents import differences, read_document
from loominal.shuttle.targets.documents import is_secret, target_mistakes, wanted_in
from loominal.shuttle.targets.flags import COMMON, EVERY, FLAGS, Given, Said, flag_at
from loominal.shuttle.targets.plan import Step, done
from tests.unit.factories import NOW

LOCAL = {
    "name": "here", "agentType": "exec", "capabilities": ["python"], "boundaries": ["personal"],
    "mechanism": "local", "config": {"command": ["true"]},
}  # fmt: skip
HOSTILE = ("a\nb", "-oProxyCommand=touch /tmp/x", "$(reboot)", "a b", "x\x00", "\u202eabc", "../..", "")


def said(mechanism: str, *behind: str, **flags: str | tuple[str, ...]) -> Said:
    texts = {
        f"--{name.replace('_', '-')}": given if isinstance(given, tuple) else (given,) for name, given in flags.items()
    }
    return Said(Mechanism(mechanism), Given(texts, behind=behind))


def read(text: str, name: str = "-") -> object:
    file = io.BytesIO(text.encode())
    file.name = name
    return read_document(file)


def places(document: object) -> list[str]:
    with pytest.raises(InvalidArgument) as refused:
        wanted_in(document)
    lines = refused.value.message.splitlines()
    return [line.strip().partition(": ")[0] for line in (lines[1:] or lines)]


def test_there_is_a_flag_for_whatever_a_target_may_say() -> None:
    for mechanism, config in CONFIGS.items():
        assert {f"config.{name}" for name in config.__struct_encode_fields__} == {
            flag.place for flag in FLAGS[mechanism]
        }
    top = {flag.place.partition(".")[0] for flag in COMMON}
    assert top == set(AddTarget.__struct_encode_fields__) - {"name", "mechanism", "config", "enabled"}
    assert {flag_at(flag.place) for flag in EVERY.values()} == set(EVERY)


@pytest.mark.parametrize(
    ("flags", "place", "value"),
    [
        ({"cooldown": "90"}, "cooldownSeconds", 90.0),
        ({"idle": "1h30m"}, "idleSeconds", 5400.0),
        ({"max_concurrent": "3"}, "maxConcurrent", 3),
        ({"tag": ("a", "b")}, "tags", ["a", "b"]),
        ({"tag": ""}, "tags", []),
        ({"env": ("A=1=2", "B=")}, "config.env", {"A": "1=2", "B": ""}),
        ({"env": ""}, "config.env", {}),
        ({"command": "run 'two words' $HOME"}, "config.command", ["run", "two words", "$HOME"]),
    ],
)
def test_a_flag_says_what_it_looks_like(flags: dict[str, str | tuple[str, ...]], place: str, value: object) -> None:
    found = said("local", **flags)

    assert (found.values, found.mistakes) == ({place: value}, [])


def test_what_stands_behind_the_dashes_is_the_command_word_for_word() -> None:
    assert said("ssh", "sh", "-c", "echo $HOME").values == {"config.command": ["sh", "-c", "echo $HOME"]}
    [twice] = said("ssh", "sh", command="sh").mistakes
    [elsewhere] = said("webhook", "sh").mistakes
    assert (twice.place, elsewhere.place) == ("--command", "--command")
    assert "local or ssh or kubernetes, not of webhook" in elsewhere.what


@pytest.mark.parametrize(
    ("mechanism", "flags", "problem"),
    [
        ("local", {"image": "x"}, "--image: it is of the mechanism kubernetes, not of local"),
        ("webhook", {"user": "x"}, "--user: it is of the mechanism ssh, not of webhook"),
        ("local", {"cwd": ("/a", "/b")}, "--cwd: it is given twice"),
        ("local", {"env": ("A=1", "A=2")}, "--env: 'A' is given twice"),
        ("ssh", {"port": "22x"}, "--port: '22x' is no whole number"),
        ("webhook", {"body": "[1]"}, "--body: it is no JSON object"),
        ("local", {"idle": "soon"}, "--idle: 'soon' is no time we understand"),
        ("local", {"command": "'"}, "--command: No closing quotation"),
    ],
)
def test_a_flag_that_cannot_be_is_told_by_its_name(
    mechanism: str, flags: dict[str, str | tuple[str, ...]], problem: str
) -> None:
    assert [str(each) for each in said(mechanism, **flags).mistakes] == [problem]


@pytest.mark.parametrize("given", ["secret", "Authorization: Bearer secret"])
def test_no_value_is_repeated_when_it_may_be_a_secret(given: str) -> None:
    [wrong] = said("webhook", header=given).mistakes

    assert "secret" not in str(wrong)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = {
        "name": "Bad Name", "agentTyp": "exec", "capabilities": ["a\nb"], "boundaries": [], "maxConcurrent": 0,
        "mechanism": "ssh", "healthCheck": {"enabled": 1},
        "config": {"host": "-oProxyCommand=x", "user": "a b", "port": 99999, "cwd": "here"},
    }  # fmt: skip

    assert {each.place for each in target_mistakes(wrong)} == {
        "name", "agentTyp", "agentType", "capabilities", "boundaries", "maxConcurrent", "healthCheck.enabled",
        "config.host", "config.user", "config.port", "config.cwd", "config.command",
    }  # fmt: skip
    assert [each.place for each in target_mistakes({**LOCAL, "config": {"command": ["-x"], "env": {"PATH": ""}}})] == [
        "config.env",
        "config.command",
    ]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    ("mechanism", "field"),
    [
        (Mechanism.SSH, "host"), (Mechanism.SSH, "user"), (Mechanism.KUBERNETES, "namespace"),
        (Mechanism.KUBERNETES, "serviceAccount"), (Mechanism.GITHUB_ACTIONS, "repo"),
        (Mechanism.GITHUB_ACTIONS, "workflow"), (Mechanism.GITHUB_ACTIONS, "tokenEnv"), (Mechanism.WEBHOOK, "url"),
    ],
)  # fmt: skip
def test_hostile_values_never_become_part_of_a_target(mechanism: Mechanism, field: str, value: str) -> None:
    if (field, value) == ("tokenEnv", ""):
        return  # that is none

    config = {field: value}

    assert f"config.{field}" in {
        each.place
        for each in target_mistakes({**LOCAL, "mechanism": mechanism.value, "config": _sound(mechanism) | config})
    }


def _sound(mechanism: Mechanism) -> dict[str, object]:
    sound: dict[Mechanism, dict[str, object]] = {
        Mechanism.SSH: {"host": "box", "user": "ci", "command": ["true"]},
        Mechanism.KUBERNETES: {"namespace": "agents", "image": "loominal:1"},
        Mechanism.GITHUB_ACTIONS: {"repo": "acme/shop", "workflow": "agent.yml"},
        Mechanism.WEBHOOK: {"url": "https://ci.example/start"},
    }
    return sound[mechanism]


@pytest.mark.parametrize("value", ["a\nb", "-oProxyCommand=x", "$(reboot)", "a b", "x\x00", "\u202eabc", "..", ""])
def test_hostile_names_are_refused(value: str) -> None:
    assert {each.place for each in target_mistakes({**LOCAL, "name": value})} == {"name"}


def test_targets_are_read_from_json_and_toml_one_or_many() -> None:
    toml = """
        [[targets]]
        name = "here"
        agentType = "exec"
        capabilities = ["python"]
        boundaries = ["Personal"]
        mechanism = "local"
        config = { command = ["true"] }
    """
    documents = [read(toml), read(json.dumps(LOCAL), "x.json"), read(json.dumps([LOCAL])), {"targets": [LOCAL]}]

    targets = [wanted_in(each) for each in documents]

    assert all(each == targets[0] for each in targets)
    [target] = targets[0]
    assert (target.document["boundaries"], target.document["idleSeconds"], target.enabled) == (["personal"], 300, None)


def test_what_the_hub_adds_is_passed_over_and_whether_it_is_enabled_is_not() -> None:
    [target] = wanted_in({**LOCAL, "id": "t_1", "running": 2, "createdAt": "2026-01-01T00:00:00Z", "enabled": False})

    assert (set(target.document), target.enabled) == (set(AddTarget.__struct_encode_fields__) - {"enabled"}, False)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], ["targets"]),
        (3, ["targets"]),
        ({"targets": {}}, ["targets"]),
        ({"targets": [LOCAL], "tokens": []}, ["tokens"]),
        ([LOCAL, LOCAL], ["targets[1].name"]),
        ([LOCAL, 5], ["targets[1]"]),
        ([{**LOCAL, "enabled": "no"}, {**LOCAL, "name": "X"}], ["targets[0].enabled", "targets[1].name"]),
        ({**LOCAL, "mechanism": ["local"]}, ["mechanism"]),
        ({**LOCAL, "description": "x" * 200_001}, ["it"]),
    ],
)
def test_what_makes_no_targets_is_told_with_its_place(document: object, expected: list[str]) -> None:
    assert places(document) == expected


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("{", "-", "is no JSON"),
        ("a = 1", "x.json", "is no JSON"),
        ("= 1", "x.toml", "neither TOML nor JSON"),
        ("[" * 100_000, "-", "nested too deeply"),
    ],
)
def test_what_is_no_document_is_refused(text: str, name: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        read(text, name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([*LOCAL, "healthCheck", "tags", "cooldownSeconds", "enabled"]), st.sampled_from(Mechanism))
def test_whatever_stands_in_a_document_is_a_target_or_refused(value: object, field: str, mechanism: Mechanism) -> None:
    for document in (value, {**LOCAL, field: value}, {**LOCAL, "mechanism": mechanism, "config": value}):
        try:
            targets = wanted_in(document)
        except InvalidArgument:
            continue
        assert wanted_in(targets[0].document)[0].document == targets[0].document


def test_differences_name_the_place_and_hide_what_may_be_secret() -> None:
    [before] = wanted_in({**LOCAL, "config": {"command": ["a", "b"], "env": {"KEY": "old"}}})
    [after] = wanted_in({**LOCAL, "tags": ["x"], "config": {"command": ["a"], "env": {"KEY": "new"}}})

    lines = differences(before.document, after.document, is_secret)

    assert lines == ["config.command: a, b → a", "config.env.KEY: changed", "tags: - → x"]


def test_a_table_that_comes_or_goes_is_told_as_such() -> None:
    assert differences({"a": {"x": 1}}, {"b": {"y": [], "z": True}}) == ["a: gone", "b: new", "b.z: - → true"]


class Recorder:
    """Takes what an agent is asked, and answers as a hub without any targets would."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def add_target(self, **fields: object) -> TargetView:
        self.asked.append("add")
        return TargetView(id="t_1", created_at=NOW, updated_at=NOW, **fields)  # type: ignore[arg-type]  # as a whole


async def test_a_target_that_is_to_rest_never_starts_anything() -> None:
    agent = Recorder()
    [target] = wanted_in({**LOCAL, "enabled": False})

    view = await done(cast(Agent, agent), Step(target.document, False, None))  # nothing else of an agent is asked

    assert (view.enabled, agent.asked) == (False, ["add"])
