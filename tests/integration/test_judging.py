"""What the leader judges is judged in the end, also when the broker refused it at first."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace

import pytest

from loominal.broker.log import Log
from loominal.fabric.hub import clock
from loominal.fabric.hub.work.submitting import start
from loominal.model.work import Status
from tests.integration.conftest import NatsServer, eventually
from tests.integration.test_loading import served
from tests.unit.factories import a_submission


async def test_a_deadline_whose_judgement_could_not_be_written_is_judged_again(
    nats_server: NatsServer, project_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(nats_server, project_id) as project:
        project.presence.beat("ann", "ann-1", project.clock.monotonic())  # so that the project is not at rest
        soon = datetime.now(UTC) + timedelta(seconds=1)
        for number in range(3):
            await start(project, a_submission(id=f"w_{number}", deadline=soon))
        kept, project.work_log = project.work_log, Log(project.broker, "another")  # refuses every append
        await eventually(lambda: "was spoilt" in caplog.text)
        project.work_log = kept

        await eventually(lambda: project.book.counts()[Status.DEAD] == 3)


async def test_after_a_clock_was_set_the_hub_knows_broker_time_again(
    nats_server: NatsServer, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wall() -> float:
        return time.time() + 3600

    def now(zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(wall(), zone)

    async with served(nats_server, project_id) as project:
        project.presence.beat("ann", "ann-1", project.clock.monotonic())  # so that the project is not at rest
        monkeypatch.setattr(clock, "datetime", SimpleNamespace(now=now))
        monkeypatch.setattr(clock, "time", SimpleNamespace(time=wall, monotonic=time.monotonic))

        await eventually(lambda: abs(project.clock.now() - datetime.now(UTC)) < timedelta(seconds=60))
        assert not project.clock.settled
