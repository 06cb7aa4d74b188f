"""Weft's own file: what it may say, and that every mistake in it is told with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loominal.model.errors import InvalidArgument
from loominal.model.grant import Role
from loominal.model.mechanism import Mechanism
from loominal.model.policy import DEFAULT_POLICY, OPEN_POLICY, Rule
from loominal.weft.weft_file import Allow, WeftFile, read_weft_file

ONE, OTHER = "a" * 64, "b" * 64

GOOD = f"""
[allow]
mechanisms = ["local", "ssh"]
env = ["GITHUB_TOKEN"]
identityFiles = ["/keys/fleet"]
kubeconfigs = []
privateNetworks = true
hosts = {{ GITHUB_TOKEN = ["api.github.com"] }}

[[tokens]]
name = "ci"
sha256 = "{ONE}"
role = "operator"
projects = ["shop"]
expiresAt = 2031-01-01T00:00:00Z

[[tokens]]
sha256 = "{OTHER}"
role = "observer"

[policy]
crossProject = false

[policy.boundaries.Secret]
agentTypes = ["codex", "codex"]

[[targets]]
name = "desk"
agentType = "codex"
capabilities = ["python"]
boundaries = ["secret"]
mechanism = "local"
config = {{ command = ["loominal", "agent", "run"] }}
healthCheck = {{ enabled = true }}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weft.toml"


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def mistakes_of(path: Path, text: str) -> list[str]:
    with pytest.raises(InvalidArgument) as refused:
        read_weft_file(written(path, text))
    start, _, found = refused.value.message.partition(" has mistakes: ")
    assert start == str(path)
    return re.split(r"; (?!did|known)", found)


def test_everything_that_the_file_may_say_is_read(path: Path) -> None:
    read = read_weft_file(written(path, GOOD))

    assert read.allow == Allow(
        mechanisms=(Mechanism.LOCAL, Mechanism.SSH),
        env=("GITHUB_TOKEN",),
        identity_files=("/keys/fleet",),
        hosts={"GITHUB_TOKEN": ("api.github.com",)},
        private_networks=True,
    )
    named, unnamed = read.tokens
    assert (named.shown_name, named.role, named.projects) == ("ci", Role.OPERATOR, ("shop",))
    assert named.expires_at is not None
    assert (unnamed.shown_name, unnamed.projects, unnamed.expires_at) == (OTHER[:12], (), None)
    assert read.policy is not None
    policy = read.policy.policy()
    assert (policy.cross_project, policy.boundaries) == (False, {"secret": Rule(agent_types=("codex",))})
    assert [(target.name, target.health_check.enabled) for target in read.targets] == [("desk", True)]


def test_a_policy_without_boundaries_has_those_of_a_fabric_without_the_file(path: Path) -> None:
    read = read_weft_file(written(path, "[policy]\ncrossProject = false"))

    assert read.policy is not None
    assert read.policy.policy().boundaries == DEFAULT_POLICY.boundaries
    assert read.policy.policy(OPEN_POLICY).boundaries == OPEN_POLICY.boundaries


def test_no_file_says_nothing_unless_it_was_named(path: Path) -> None:
    assert read_weft_file(path) == WeftFile()
    with pytest.raises(InvalidArgument, match="no file"):
        read_weft_file(path, required=True)


def test_every_mistake_is_told_with_its_place(path: Path) -> None:
    found = mistakes_of(
        path,
        f"""
        [allow]
        mechanism = ["local"]
        env = ["A", 1]
        [allow.hosts]
        GITHUB_TOKEN = "api.github.com"
        [[tokens]]
        sha256 = "abc"
        rolle = "operator"
        [[tokens]]
        sha256 = "{ONE}"
        role = "boss"
        expiresAt = 2031-01-01
        [policy.boundaries."top secret"]
        agentType = []
        [[targets]]
        name = "desk"
        healthCheck = {{ enabled = 1 }}
        """,
    )

    assert [line.partition(": ")[0] for line in found] == [
        "allow.mechanism",
        "allow.env[1]",
        "allow.hosts.GITHUB_TOKEN",
        "tokens[0].rolle",
        "tokens[0].sha256",
        "tokens[0].role",
        "tokens[1].role",
        "tokens[1].expiresAt",
        "policy.boundaries.'top secret'.agentType",
        "targets[0].agentType",
        "targets[0].capabilities",
        "targets[0].boundaries",
        "targets[0].mechanism",
        "targets[0].config",
        "targets[0].healthCheck.enabled",
    ]
    assert "did you mean 'mechanisms'?" in found[0]
    assert "did you mean 'role'?" in found[3]


def test_what_is_of_its_type_and_yet_untrue_is_told_as_well(path: Path) -> None:
    found = mistakes_of(
        path,
        f"""
        [[tokens]]
        name = "local"
        sha256 = "{ONE}"
        role = "operator"
        [[tokens]]
        name = "C I"
        sha256 = "{ONE}"
        role = "agent"
        projects = ["shop", "The Shop"]
        [policy.boundaries.secret]
        [policy.boundaries.Secret]
        """,
    )

    assert [line.partition(": ")[0] for line in found] == [
        "tokens[0].name",
        "tokens[1].name",
        "tokens[1].projects[1]",
        "tokens",
        "policy",
    ]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    with pytest.raises(InvalidArgument, match="written by others") as refused:
        read_weft_file(written(path, GOOD, mode))
    assert "chmod" in refused.value.hint


@pytest.mark.parametrize("text", ["tokens = [", "\x00", "a = 1\na = 2"])
def test_what_is_no_toml_is_refused(path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        read_weft_file(written(path, text))


def test_a_table_where_another_thing_stands_is_told(path: Path) -> None:
    assert mistakes_of(path, "allow = 1\ntokens = 2\n[policy]\nboundaries = []") == [
        "allow: it must be a table",
        "tokens: Expected `array`, got `int`",
        "policy.boundaries: Expected `object`, got `array`",
    ]
