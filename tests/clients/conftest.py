"""What a test of a real client gets: a fabric, a person's home on it, and a model that is told what to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from tests.clients.scripted_model import ScriptedModel, scripted_model
from tests.clients.user import User
from tests.integration.fabric import Fabric


@pytest.fixture(scope="session")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    """A fabric with its real times: what a client's model sees is as a user's would."""
    running = Fabric(tmp_path_factory.mktemp("fabric"), scale=1.0)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def user(tmp_path: Path, fabric: Fabric, request: pytest.FixtureRequest) -> User:
    return User(tmp_path / "home", fabric, f"shop-{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as listening:
        yield listening


@pytest.fixture
async def bob(fabric: Fabric, user: User) -> AsyncIterator[Agent]:
    """A peer in the user's project."""
    async with fabric.connect("bob", project=user.project, capabilities=["go"]) as agent:
        yield agent
