"""`shuttle completion`: what Tab offers in a real bash, and what zsh and fish are told; quick, silent, and unseen."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.shuttle import completing
from tests.acceptance.shells import SECONDS, Shell, Typing

PROGRAM = """
from loominal.shuttle import completing, main
completing.SECONDS = 30.0  # a busy machine is slower than a person would wait
main.main()
"""


@pytest.fixture
async def bob(typed: Typing) -> AsyncIterator[Agent]:
    async with typed.agent("bob") as agent:
        yield agent


class Tab:
    """A bash in which the script was sourced, and Tab pressed behind some words."""

    def __init__(self, shell: Shell, project: str) -> None:
        self._project = project
        self._shell = shell
        self._programs = shell.directory / "bin"
        program = self._programs / "shuttle"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable}\n{PROGRAM}")
        program.chmod(0o755)

    async def offered(self, *words: str, **environment: str) -> list[str]:
        """Return what is offered for the last word. Nothing may be said beside it."""
        script = (
            'eval "$(shuttle completion bash)"\n'
            f"COMP_WORDS=(shuttle {shlex.join(words)}); COMP_CWORD={len(words)}; COMPREPLY=()\n"
            "set -- $(complete -p shuttle)\n"  # complete -o nosort -F FUNCTION shuttle
            "$5 shuttle; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        return (await self._said("bash", "--norc", "-c", script, **environment)).split()

    async def asked(self, kind: str, words: str, **environment: str) -> str:
        """Return what the program tells the script of another shell."""
        told = {"_SHUTTLE_COMPLETE": f"{kind}_complete", "COMP_WORDS": words, **environment}
        return await self._said(str(self._programs / "shuttle"), **told)

    async def _said(self, *command: str, **environment: str) -> str:
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        environ = self._shell.environ | {"PATH": path, "LOOMINAL_PROJECT_ID": self._project, **environment}
        done = await asyncio.to_thread(
            subprocess.run, command, env=environ, cwd=self._shell.directory, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def tab(shell: Shell, project: str) -> Tab:
    return Tab(shell, project)


async def test_bash_completes_commands_flags_and_keys(tab: Tab) -> None:
    assert await tab.offered("chan") == ["channels"]
    assert await tab.offered("channels", "") == ["list", "read", "send"]
    assert {"--ask", "--wait", "--json"} <= set(await tab.offered("tell", "bob", "--"))
    assert await tab.offered("config", "set", "default-p") == ["default-priority"]
    assert await tab.offered("tell", "bob", "-", "--wa") == ["--wait"]
    assert await tab.offered("completion", "b") == ["bash"]


async def test_bash_completes_what_there_is_in_the_fabric(typed: Typing, tab: Tab, bob: Agent) -> None:
    item = (await bob.broadcast_work_offer("card the wool")).id
    await bob.send_message("wool", "hello", create=True)
    async with typed.operator() as operator:
        await operator.add_target("barn", "codex", ["x"], ["personal"], "local", {"command": ["true"]})

    for words, expected in {
        ("tell", "b"): "bob",
        ("agents", "show", ""): "bob",
        ("work", "show", "w_"): item,
        ("watch", ""): item,
        ("submit", "x", "--depends-on", ""): item,
        ("channels", "read", "w"): "wool",
        ("targets", "show", ""): "barn",
        ("spin-up", "b"): "barn",
        ("-p", typed.project[:5]): typed.project,
    }.items():
        assert expected in await tab.offered(*words), words


async def test_zsh_and_fish_show_what_an_id_is(tab: Tab, bob: Agent) -> None:
    item = (await bob.broadcast_work_offer("card\n\x1b[31mthe wool, all of it")).id
    told = {
        "zsh": f"plain\n{item}\nready: card  [31mthe wool, all of it",
        "fish": f"plain,{item}\tready: card  [31mthe",
    }
    words = {"zsh": {"COMP_CWORD": "3"}, "fish": {"COMP_CWORD": ""}}

    for kind in ("zsh", "fish"):
        assert told[kind] in await tab.asked(kind, "shuttle work show ", **words[kind])


async def test_where_nobody_was_an_agent_nothing_is_offered_and_nothing_comes_to_be(
    shell: Shell, tab: Tab, tmp_path: Path
) -> None:
    before = sorted(shell.home.rglob("agents/*"))

    assert await tab.offered("tell", "", LOOMINAL_PROJECT_ID="never-seen") == []
    assert await tab.offered("tell", "", LOOMINAL_HOME=str(tmp_path / "none")) == []
    assert sorted(shell.home.rglob("agents/*")) == before
    assert not (tmp_path / "none").exists()


async def test_a_fabric_that_is_gone_is_not_waited_for(tab: Tab, typed: Typing) -> None:
    async with typed.agent("bob"):
        pass

    assert await tab.offered("tell", "", NATS_URL="nats://127.0.0.1:1") == []
    await tab.offered("nonsense", "")  # says nothing


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
async def test_each_script_is_one_that_its_shell_can_read(typed: Typing, kind: str) -> None:
    script = (await typed("completion", kind)).stdout

    assert "_SHUTTLE_COMPLETE" in script
    if program := shutil.which(kind):
        read = await asyncio.to_thread(
            subprocess.run, [program, "-n"],
            input=script, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert (read.returncode, read.stderr) == (0, "")


def test_what_is_no_plain_word_never_reaches_a_shell() -> None:
    assert all(completing.PLAIN.fullmatch(word) for word in ("bob", "w_1", "bob@shop", "p-1.2"))
    assert not any(completing.PLAIN.fullmatch(word) for word in ("$(id)", "a b", "*", "-rf", "a;b", "", "a\nb", "`x`"))
