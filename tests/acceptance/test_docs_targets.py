"""What docs/targets.md tells people to type does what it says, and each of its examples is one that is taken."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loominal.fabric.operations.targets import AddTarget
from loominal.fabric.protocol import arguments
from loominal.model.mechanism import GithubConfig, KubernetesConfig, Mechanism, SshConfig, WebhookConfig
from loominal.model.target import Target, checked
from loominal.weft.mechanisms.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature
from loominal.weft.weft_file import read_weft_file
from tests.acceptance.pages import DOCS, a_users_home, blocks, typed
from tests.ports import free_port

PAGE = (DOCS / "targets.md").read_text()
SECONDS = 120.0  # for the walk, on a loaded machine; alone it takes 8
WALK = "## On one machine"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with a_users_home(tmp_path) as home:
        yield home


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="NOT SHOWN HERE: bash and curl run it")
@pytest.mark.timeout(SECONDS + 60)
def test_the_walk_does_what_the_page_says(place: Path) -> None:
    walk = blocks(PAGE.partition(WALK)[2].partition("\n## ")[0], "sh")

    code, told = typed("\n".join(["set -euo pipefail", *walk]), place, free_port(), seconds=SECONDS)

    assert code == 0, told
    assert re.search(r"^check +ok ", told, re.MULTILINE), told
    assert re.search(r"^w_\w+ +done +Count to three$", told, re.MULTILINE), told
    assert re.search(r"^gophers +target +", told, re.MULTILINE), told
    assert re.search(r"^w_\w+ +cancelled$", told, re.MULTILINE), told
    assert '"name":"here"' in told


def made(example: bytes) -> Target:
    """Return the target that the body of a request makes. Raises: InvalidArgument."""
    asked = arguments(AddTarget, example)
    fields = {name: getattr(asked, name) for name in ("name", "agent_type", "capabilities", "boundaries", "mechanism")}
    fields |= dict.fromkeys(("created_at", "updated_at"), datetime.now(UTC))
    return checked(Target(id="t_1", config=msgspec.Raw(msgspec.json.encode(asked.config)), **fields))


def test_each_example_is_a_target() -> None:
    targets = [made(text.encode()) for text in blocks(PAGE, "json")]

    assert [each.mechanism for each in targets] == list(Mechanism)


def test_the_file_of_weft_is_one_that_weft_takes_and_lends_what_the_examples_want(tmp_path: Path) -> None:
    [text] = blocks(PAGE, "toml")
    file = tmp_path / "weft.toml"
    file.write_text(text)
    file.chmod(0o600)

    read = read_weft_file(file)

    assert read.allow is not None
    assert [each.name for each in read.made_targets(datetime.now(UTC))] == ["this-machine"]
    for settings in (made(text.encode()).settings for text in blocks(PAGE, "json")):
        wanted = {name for name, value in getattr(settings, "env", {}).items() if not value}
        match settings:
            case SshConfig():
                assert settings.identity_file in read.allow.identity_files
            case GithubConfig():
                assert settings.token_env in read.allow.hosts
            case WebhookConfig():
                wanted.add(settings.secret_env)
            case KubernetesConfig():
                assert read.allow.kubeconfigs
        assert wanted <= set(read.allow.env)


def test_the_check_of_a_webhooks_signature_tells_ours_from_others() -> None:
    [code] = blocks(PAGE, "python")
    names: dict[str, Any] = {}  # Any: whatever the example defines
    exec(code, names)  # it is ours
    now, body = str(int(time.time())), b'{"launch": "l_1"}'

    def accepted(sent: bytes = body, at: str = now, secret: str = "known", signed: str = "") -> bool:
        headers = {TIMESTAMP_HEADER: at, SIGNATURE_HEADER: signed or signature("known", now, body)}
        return bool(names["is_from_weft"](headers, sent, secret))

    assert accepted()
    assert not accepted(b"{}")
    assert not accepted(secret="another")
    assert not accepted(at=str(int(now) + 1))
    assert not accepted(at="²")
    assert not accepted(signed="ä")
    assert not names["is_from_weft"]({}, body, "known")
    late = str(int(now) - 301)
    assert not accepted(at=late, signed=signature("known", late, body))


def test_each_thing_that_it_says_goes_wrong_is_one_that_is_said() -> None:
    told = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", PAGE.partition("## What goes wrong")[2], re.MULTILINE)[1:]

    sources = "".join(file.read_text() for file in (Path(__file__).parents[2] / "src" / "loominal").rglob("*.py"))

    for each in told:
        longest = max(re.split(r"…|\(.*?\)|, or |'[^']*'|\d+", each), key=len).strip(" ,")
        assert longest in sources, each
