"""`github-actions` against what answers like GitHub and holds every request against the published description."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loominal.broker.sealing import KEY_VARIABLE, opened, seal
from loominal.model.errors import Forbidden, InvalidArgument, StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition
from loominal.model.mechanism import Config, GithubConfig, Mechanism
from loominal.weft.mechanisms import MECHANISMS, github
from loominal.weft.mechanisms.github import GithubActions
from loominal.weft.mechanisms.means import Means
from loominal.weft.weft_file import Allow
from tests.github_stand_in import KEY, TOKEN, GitHub, breaches, refusal
from tests.http_stand_in import Answered, Asked, StandIn, standing_in
from tests.mechanism_conformance import Got, SeesAgents, StartsAgents, an_order

WORKFLOW = Path(__file__).parents[2] / "deploy" / "github" / "loominal-agent.yml"


class Place:
    """GitHub, with what a target says of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.github = GitHub()
        self.stand_in: StandIn

    def driver(self, *, environ: dict[str, str] | None = None, **changes: Any) -> GithubActions:  # Any: by name
        allow = {
            "mechanisms": (Mechanism.GITHUB_ACTIONS,),
            "hosts": {"GITHUB_TOKEN": ("127.0.0.1",), "UNSET": ("127.0.0.1",)},
            "private_networks": True,
        }
        has = {"GITHUB_TOKEN": TOKEN, KEY_VARIABLE: KEY, "OTHER": "secret"} if environ is None else environ
        return GithubActions(Means(allow=Allow(**{**allow, **changes}), home=self.home, environ=has))

    def config(self, **changes: Any) -> GithubConfig:  # Any: by name
        given = {"repo": "owner/agents", "workflow": "agent.yml", "api_url": f"http://127.0.0.1:{self.stand_in.port}"}
        return GithubConfig(**{**given, **changes})

    def broken(self) -> tuple[Config, str]:
        return self.config(repo="owner/elsewhere"), "404: Not Found"

    def forbidden(self) -> tuple[GithubActions, Config]:
        return self.driver(mechanisms=()), self.config()

    def started(self, launch: str) -> list[Got]:
        return self.github.started(launch)


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(github, "POLL_SECONDS", 0.05)
    there = Place(tmp_path)
    async with standing_in(there.github) as there.stand_in:
        yield there
    assert there.github.breaches == []


class TestGithubActions(StartsAgents, SeesAgents):
    """As every mechanism."""

    # GitHub has no key that makes two dispatches one; a launch's guarded record lets one weft ask, and the enrolment
    # is for one agent
    test_the_same_order_from_several_at_once_starts_one = None  # type: ignore[assignment]


def test_every_mechanism_is_in_the_table() -> None:
    assert set(MECHANISMS) == set(Mechanism)


def test_what_is_not_published_would_be_seen() -> None:
    path = "/repos/owner/agents/actions/workflows/agent.yml/dispatches"
    good = b'{"ref": "main", "inputs": {}, "return_run_details": true}'
    for target, body in (
        (path, good.replace(b"ref", b"branch")),
        (path, good.replace(b"true", b"1")),
        ("/other", good),
    ):
        assert breaches(Asked(method="POST", target=target, headers={}, body=body))
    assert breaches(Asked(method="GET", target=path.replace("dispatches", "runs?newest=1"), headers={}, body=b""))
    assert breaches(Asked(method="POST", target=path, headers={}, body=good)) == []


async def test_what_can_be_read_says_nothing_of_the_enrolment(place: Place) -> None:
    order = an_order()

    await place.driver().start(place.config(inputs={"size": "$& \" '"}), order)

    [inputs] = place.github.inputs
    assert set(inputs) == {
        *("size", "loominal_launch", "loominal_enrolment", "loominal_agent_type", "loominal_capabilities"),
    }
    assert (inputs["size"], inputs["loominal_capabilities"]) == ("$& \" '", "python")
    for asked in place.stand_in.asked:
        assert order.enrolment[:30].encode() not in asked.body


def test_a_sealed_text_opens_with_its_key_for_its_launch_alone() -> None:
    sealed = seal(KEY, "an enrolment", "l_1")

    assert opened(KEY, sealed, "l_1") == "an enrolment"
    assert seal(KEY, "an enrolment", "l_1") != sealed
    for key, text, launch in (
        (KEY + "x", sealed, "l_1"),
        (KEY, sealed, "l_2"),
        (KEY, sealed[:-2], "l_1"),
        (KEY, "é", ""),
    ):
        with pytest.raises(InvalidArgument):
            opened(key, text, launch)
    with pytest.raises(InvalidArgument):
        seal("short", "an enrolment", "l_1")


def test_a_workflow_opens_its_enrolment_with_the_program() -> None:
    environ = {**os.environ, KEY_VARIABLE: KEY + "\n", "LOOMINAL_LAUNCH": "l_1"}
    environ["LOOMINAL_SEALED_ENROLMENT"] = seal(KEY, "an enrolment", "l_1")
    command = [sys.executable, "-m", "loominal.broker.sealing"]

    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    wrong = subprocess.run(
        command, env={**environ, "LOOMINAL_LAUNCH": "l_2"}, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout, wrong.stdout, wrong.returncode) == ("an enrolment", "", 1)
    assert KEY_VARIABLE in wrong.stderr


@pytest.mark.parametrize("lost", [True, False])
async def test_a_run_that_github_does_not_number_is_found_by_its_launch_and_never_as_the_newest(
    place: Place, lost: bool
) -> None:
    place.github.details, place.github.lost = False, lost
    order = an_order()
    place.github.a_run(f"loominal {order.launch}x")
    place.github.hidden = 2  # the list before, and the first after

    starting = place.driver().start(place.config(), order)
    reference = await starting
    place.github.a_run("loominal l_another")

    assert reference == str(place.github.runs[1]["id"])
    assert len(place.github.inputs) == 1


async def test_a_run_is_found_behind_a_page_of_others(place: Place) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    for number in range(120):
        place.github.a_run(f"loominal l_{number}")

    assert (await place.driver().look(place.config(), order.launch, "")).reference == reference


@pytest.mark.parametrize("answer", [Answered(cut=True), Answered(body=b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}")])
async def test_an_answer_that_is_lost_for_good_is_unconfirmed(
    place: Place, answer: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github, "FIND_SECONDS", 0.2)
    place.github.instead = [("POST", "/dispatches", answer)]

    with pytest.raises(Unconfirmed):
        await place.driver().start(place.config(), an_order())

    assert len([asked for asked in place.stand_in.asked if asked.method == "POST"]) == 1


async def test_what_github_could_not_do_is_asked_again(place: Place) -> None:
    place.github.instead = [("POST", "/dispatches", refusal(502, "Server Error"))] * 2
    order = an_order()

    assert await place.driver().start(place.config(), order)
    assert len(place.started(order.launch)) == 1

    place.github.instead = [("POST", "/dispatches", Answered(status=500))] * 3
    with pytest.raises(Unconfirmed):
        await place.driver().start(place.config(), an_order())


@pytest.mark.parametrize(
    ("answer", "hint", "seconds"),
    [
        (refusal(401, "Bad credentials"), "expired", 0),
        (refusal(403, "Resource not accessible by personal access token"), "Actions: write", 0),
        (refusal(404, "Not Found"), "no such repository", 0),
        (refusal(422, "Unexpected inputs provided: loominal_launch"), "workflow_dispatch", 0),
        (refusal(429, "API rate limit exceeded", Retry_After="17"), "wait 17 s", 17),
        (refusal(403, "You have exceeded a secondary rate limit", Retry_After="90"), "wait 90 s", 90),
        (refusal(403, "rate limit", x_ratelimit_remaining="0", x_ratelimit_reset="1"), "wait 1 s", 1),
        (Answered(status=302, headers={"Location": "https://elsewhere.example"}), "again later", 0),
    ],
)
async def test_a_refusal_is_shown_and_not_repeated(place: Place, answer: Answered, hint: str, seconds: float) -> None:
    place.github.instead = [("POST", "/dispatches", answer)]

    with pytest.raises(StartFailed, match=str(answer.status)) as caught:
        await place.driver().start(place.config(), an_order())

    assert hint in caught.value.hint
    assert caught.value.retry_after_seconds == seconds
    assert place.github.inputs == []
    assert len([asked for asked in place.stand_in.asked if asked.method == "POST"]) == 1


@pytest.mark.parametrize(
    ("status", "conclusion", "condition", "code"),
    [
        ("queued", None, Condition.RUNNING, None),
        ("in_progress", None, Condition.RUNNING, None),
        ("completed", "success", Condition.ENDED, 0),
        ("completed", "failure", Condition.ENDED, None),
    ],
)
async def test_a_look_says_what_github_says(
    place: Place, status: str, conclusion: str | None, condition: Condition, code: int | None
) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    place.github.runs[0] |= {"status": status, "conclusion": conclusion}

    seen = await place.driver().look(place.config(), order.launch, reference)

    assert (seen.condition, seen.exit_code) == (condition, code)
    assert (conclusion or status) in seen.detail


async def test_a_run_that_goes_on_is_cancelled_by_force_after_the_grace(place: Place) -> None:
    place.github.stubborn = True
    order = an_order()
    reference = await place.driver().start(place.config(), order)

    await place.driver().stop(place.config(), order.launch, reference, grace_seconds=0.2)

    deeds = [asked.path.rpartition("/")[2] for asked in place.stand_in.asked if asked.method == "POST"]
    assert deeds == ["dispatches", "cancel", "force-cancel"]


async def test_a_bearer_token_goes_only_where_the_owner_says(place: Place) -> None:
    config = place.config()
    for driver, asked in (
        (place.driver(hosts={}), config),
        (place.driver(hosts={"GITHUB_TOKEN": ("api.github.com",)}), config),
        (place.driver(), place.config(token_env="OTHER")),
        (place.driver(), place.config(api_url="https://127.0.0.1.example")),
    ):
        with pytest.raises(Forbidden, match="may not be sent"):
            await driver.start(asked, an_order())
        with pytest.raises(Unreachable):
            await driver.look(asked, "l_1", "")
    assert place.stand_in.asked == []

    exactly = place.driver(hosts={"GITHUB_TOKEN": (f"127.0.0.1:{place.stand_in.port}",)})
    assert await exactly.start(config, an_order())


async def test_what_is_missing_or_not_for_a_target_to_set_is_said_before_anything_is_asked(place: Place) -> None:
    keyless = place.driver(environ={"GITHUB_TOKEN": TOKEN})
    for driver, config, why in (
        (keyless, place.config(), KEY_VARIABLE),
        (place.driver(), place.config(token_env="UNSET"), "UNSET is not set"),
        (place.driver(), place.config(inputs={"Loominal_launch": "l_2"}), "cannot be set"),
        (place.driver(), place.config(inputs={"a b": "c"}), "cannot be set"),
        (place.driver(), place.config(inputs={"a": "x" * 70_000}), "more than"),
        (place.driver(), place.config(repo="owner/.."), "config.repo"),
    ):
        with pytest.raises(StartFailed, match=why):
            await driver.start(config, an_order())
        with pytest.raises(StartFailed, match=why):
            await driver.check(config)
    assert place.stand_in.asked == []


async def test_a_workflow_that_is_disabled_is_no_target(place: Place) -> None:
    workflow = {"id": 1, "name": "Agent", "state": "disabled_manually"}
    place.github.instead = [("GET", "/agent.yml", Answered.of(200, workflow))]

    with pytest.raises(StartFailed, match="disabled_manually"):
        await place.driver().check(place.config())


def test_the_workflow_that_is_shipped_takes_what_is_sent_and_is_named_so_that_it_is_found() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    inputs = workflow[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads "on" as true

    assert {name for name in inputs if name.startswith("loominal_")} == {
        *("loominal_launch", "loominal_enrolment", "loominal_agent_type", "loominal_capabilities"),
    }
    assert "${{ inputs.loominal_launch }}" in workflow["run-name"]
    assert "${{ inputs.loominal_launch }}" in workflow["concurrency"]["group"]
    [job] = workflow["jobs"].values()
    assert not any("${{" in step.get("run", "") for step in job["steps"])  # a shell reads none of the inputs' text
