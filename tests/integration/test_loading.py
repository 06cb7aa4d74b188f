"""A new leader finishes what the last one left half done between two writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.hub import Hub
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.timings import Timings
from loominal.model.lifecycle import step, submitted
from loominal.model.moves import Cancel, Collect
from loominal.model.record import encode
from loominal.model.work import Status
from tests.integration.alone import Alone
from tests.integration.conftest import NatsServer
from tests.patience import SOON
from tests.unit.factories import NOW, a_submission


@contextlib.asynccontextmanager
async def served(nats_server: NatsServer, project_id: str) -> AsyncIterator[Project]:
    """Yield a project that has just been loaded and taken."""
    async with Broker.connect(
        nats_server.url, name="weft", inbox=subjects.reply_prefix("weft"), wait_seconds=SOON
    ) as broker:
        project = Project(project_id, "", broker, OpenAuthority(), Timings(), Alone())
        hub = Hub(project)
        serving = asyncio.create_task(hub.serve())
        try:
            await asyncio.wait_for(hub.ready.wait(), SOON)
            yield project
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def offer(project: Project, item_id: str, *, started: bool = True) -> None:
    """Store a submission and, if it is `started`, its item's first state."""
    submission = a_submission(id=item_id)
    await project.work_log.append(subjects.submission(project.id, item_id), encode(submission))
    if started:
        item = submitted(submission, {}, NOW)
        await project.work_log.append(subjects.item(project.id, item_id), encode(item))


@pytest.mark.parametrize("started", [0, 1, 5])
async def test_a_submission_without_a_state_gets_its_first_one(
    nats_server: NatsServer, project_id: str, started: int
) -> None:
    async with served(nats_server, project_id) as project:
        for number in range(started):
            await offer(project, f"w_{number}")
        await offer(project, "w_left", started=False)

    async with served(nats_server, project_id) as project:
        assert project.book.find("w_left").item.status is Status.READY
        assert len(project.book) == started + 1


async def test_a_submission_that_outlived_its_forgotten_item_goes_and_hides_no_other(
    nats_server: NatsServer, project_id: str
) -> None:
    async with served(nats_server, project_id) as project:
        await offer(project, "w_left", started=False)
        await offer(project, "w_old", started=False)
        item = step(submitted(a_submission(id="w_old"), {}, NOW), Cancel(), NOW)
        await project.work_log.append(subjects.item(project_id, "w_old"), encode(item))
        stone = step(item, Collect(), NOW + timedelta(days=8))
        await project.work_log.append(subjects.item(project_id, "w_old"), encode(stone))

    async with served(nats_server, project_id) as project:
        assert project.book.find("w_left").item.status is Status.READY
        assert await project.work_log.count(subjects.every("spec", project_id)) == 1
        assert await project.work_log.count(subjects.item(project_id, "w_old")) == 1  # the tombstone


async def test_a_submission_that_names_too_much_does_not_keep_a_project_from_being_loaded(
    nats_server: NatsServer, project_id: str
) -> None:
    submission = a_submission(id="w_big", capabilities=tuple(f"{number:03}{'c' * 97}" for number in range(32)))
    async with served(nats_server, project_id) as project:
        await project.work_log.append(subjects.submission(project_id, "w_big"), encode(submission))

    async with served(nats_server, project_id) as project:
        assert project.book.find("w_big").item.status is Status.READY
