"""The OpenAPI document tells the truth: schemathesis asks every route of a real weft what it allows, and what not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
import schemathesis
from hypothesis import Phase
from schemathesis import Case, GenerationMode

from loominal.weft.api.event_stream import MEDIA_TYPE
from loominal.weft.api.problems import PROBLEM, ProblemDetails
from tests.integration.fabric import Fabric
from tests.integration.http_api import Api, open_api
from tests.patience import SOON

SECONDS = 300.0  # on a loaded machine; else 20
ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("schemathesis")
PLACE = """
[parameters]
"query.projectId" = "shop"
"query.waitSeconds" = 0.0
"path.work_id" = "claimed"
"path.item_id" = "dead"
"path.agent_id" = "worker"
"path.channel" = "general"

[phases.coverage]
unexpected-methods = ["PATCH"]
"""  # what is there: work, a dead letter, an agent that is revoked in the end, a channel


@pytest.fixture
async def api(private_fabric: Fabric) -> AsyncIterator[Api]:
    """The interface of a project in which something has happened."""
    private_fabric.weft_environment = {"API_RATE": "100000", "LOOMINAL_PROJECT_ID": "shop"}
    private_fabric.start()
    async with (
        private_fabric.connect("boss", project="shop", capabilities=["lead"]) as boss,
        private_fabric.connect("worker", project="shop", capabilities=["go"], max_concurrent=5) as worker,
        open_api(private_fabric.home) as api,
    ):
        for wish in ("done", "dead", "claimed"):
            await boss.broadcast_work_offer(wish, capabilities=["go"], task_id=wish, max_attempts=1)
            [item] = (await worker.claim_work(wait_seconds=SOON)).work
            if wish == "done":
                await worker.complete_work(item.id, summary="made")
            elif wish == "dead":
                await worker.fail_work(item.id, "it cannot be done")
        await boss.send_message("general", "good morning")
        yield api


@pytest.mark.timeout(2 * SECONDS)
async def test_each_route_answers_as_the_document_says(api: Api, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(PLACE)
    await fuzz(api, tmp_path, "--seed=1", "--phases=coverage,fuzzing,stateful")
    (tmp_path / "schemathesis.toml").unlink()
    for seed in (2, 3):
        await fuzz(api, tmp_path, f"--seed={seed}", "--phases=fuzzing,stateful")


async def test_streams_of_events_begin_or_are_refused_as_the_document_says(api: Api) -> None:
    document = await api.get("/api/openapi.json")
    events = schemathesis.openapi.from_dict(document)["/api/events"]["GET"]
    known = document["paths"]["/api/events"]["get"]["responses"]
    asked: list[Case[Any]] = []  # Any: of whatever operation
    for seed in (1, 2, 3):
        for mode in GenerationMode:

            @hypothesis.seed(seed)
            @hypothesis.settings(max_examples=8, phases=[Phase.generate], database=None)
            @hypothesis.given(events.as_strategy(generation_mode=mode))
            def collect(case: Case[Any]) -> None:
                asked.append(case)

            collect()

    begun = 0
    for case in asked:
        resumes = {name: value for name, value in (case.headers or {}).items() if name == "Last-Event-ID"}
        async with api.client.stream("GET", case.path, params=case.query, headers=resumes) as answer:
            assert str(answer.status_code) in known
            if answer.status_code != 200:
                msgspec.json.decode(await answer.aread(), type=ProblemDetails)
            assert answer.headers["content-type"].partition(";")[0] == (PROBLEM if answer.is_error else MEDIA_TYPE)
            begun += answer.status_code == 200
    assert 0 < begun < len(asked)


async def fuzz(api: Api, place: Path, *options: str) -> None:
    """Let schemathesis ask every route but that of streams, which never end."""
    command = [
        str(PROGRAM),
        "run",
        f"{api.client.base_url}/api/openapi.json",
        f"--header=Authorization: {api.client.headers['authorization']}",
        "--exclude-path=/api/events",
        "--exclude-checks=positive_data_acceptance",  # `accepted` takes its place
        "--max-examples=5",
        "--continue-on-failure",
        "--warnings=off",
        "--no-color",
        *options,
    ]
    environ = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.integration.rest_checks", "PYTHONPATH": str(ROOT)}
    run = partial(subprocess.run, cwd=place, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    done = await asyncio.to_thread(run, command)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
