"""What most acceptance tests begin with: a fabric for each module, a project for each test, and two warps in it.

A module whose agents are of another kind, or whose times are, has a fixture of the same name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.acceptance.shells import Shell, Typing
from tests.acceptance.warps import Warp, warp
from tests.integration.fabric import FAST, Fabric


@pytest.fixture(scope="module")
def scale() -> float:
    """What the fabric's times are of the real ones."""
    return FAST


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory, scale: float) -> Iterator[Fabric]:
    """A fabric of real processes, without a supervisor."""
    running = Fabric(tmp_path_factory.mktemp("fabric"), scale=scale)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def project() -> str:
    return f"p-{uuid4().hex[:12]}"


@pytest.fixture
async def ann(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    """An agent that can do python; its client opens with a handshake."""
    async with warp(fabric.home, project=project) as started:
        await started.tool("join", handle="ann", capabilities=["python"])
        yield started


@pytest.fixture
async def bob(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    """An agent that can do go; its client names the version in every request."""
    async with warp(fabric.home, project=project, client="codex-mcp-client", modern=True) as started:
        await started.tool("join", handle="bob", capabilities=["go"])
        yield started


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell with a fabric of its own, as `loominal up` starts it."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    try:
        assert shell.run("loominal", "up", "--detach").returncode == 0
        yield shell
    finally:
        shell.run("loominal", "down")


@pytest.fixture
def typed(shell: Shell, project: str) -> Typing:
    """What is typed in a project of its own, beside agents of the test."""
    return Typing(shell, project)
