"""What answers like GitHub's API as far as runs of workflows are concerned.

Every request has to be one of GitHub's published OpenAPI description (`integration/schemas/github-actions.json`).
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs

from loominal.broker.sealing import opened
from tests.http_stand_in import Answered, Asked
from tests.mechanism_conformance import Got

TOKEN = "github-bearer-token"
KEY = "a key of weft and of the repository's secrets"
Document = dict[str, Any]  # Any: JSON
DESCRIPTION: Document = json.loads(
    (Path(__file__).parent / "integration" / "schemas" / "github-actions.json").read_text()
)


def refusal(status: int, message: str, **headers: str) -> Answered:
    """Return an answer as GitHub refuses."""
    return Answered.of(status, {"message": message, "documentation_url": "https://docs.github.com/rest"}, **headers)


def breaches(asked: Asked) -> list[str]:
    """Return how a request differs from what is published."""
    for template, operations in DESCRIPTION["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), asked.path) and asked.method.lower() in operations:
            return list(_breaches(asked, operations[asked.method.lower()]))
    return [f"{asked.method} {asked.path} is no operation"]


def _breaches(asked: Asked, operation: Document) -> list[str]:
    found = []
    known = {each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "query"}
    for name, value in asked.query.items():
        if name not in known:
            found.append(f"no such parameter: {name}")
        elif known[name]["type"] == "integer" and not value.isdecimal():
            found.append(f"{name} is no number")
    if "requestBody" not in operation:
        return [*found, *(["a body"] if asked.body else [])]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    strict = {**schema, "additionalProperties": False, "components": DESCRIPTION["components"]}
    return [*found, *(error.message for error in jsonschema_rs.Draft4Validator(strict).iter_errors(asked.json))]


class GitHub:
    """One repository, owner/agents, with one workflow, agent.yml."""

    def __init__(self) -> None:
        self.runs: list[Document] = []  # the newest first
        self.inputs: list[dict[str, str]] = []
        self.instead: list[tuple[str, str, Answered]] = []  # method, end of the path, the answer: each once
        self.lost = False  # the next dispatch is done and not answered
        self.details = True  # a dispatch is answered with the run's number
        self.hidden = 0  # so many lists do not have the newest run yet
        self.stubborn = False  # a cancelled run goes on
        self.breaches: list[str] = []

    async def __call__(self, asked: Asked) -> Answered:
        self.breaches += breaches(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Bad credentials")
        if asked.headers.get("x-github-api-version") != "2022-11-28":
            return refusal(400, "Unsupported version")
        for each in self.instead:
            if each[0] == asked.method and asked.path.endswith(each[1]):
                self.instead.remove(each)
                return each[2]
        await asyncio.sleep(0)
        return self._answer(asked)

    def _answer(self, asked: Asked) -> Answered:
        actions = "/repos/owner/agents/actions"
        if asked.path == f"{actions}/workflows/agent.yml":
            return Answered.of(200, {"id": 1, "name": "Agent", "path": "agent.yml", "state": "active"})
        if asked.path == f"{actions}/workflows/agent.yml/dispatches":
            return self._dispatch(asked.json)
        if asked.path == f"{actions}/workflows/agent.yml/runs":
            self.hidden -= 1
            shown = self.runs[1:] if self.hidden >= 0 else self.runs
            size, page = int(asked.query["per_page"]), int(asked.query["page"])
            return Answered.of(
                200, {"total_count": len(shown), "workflow_runs": shown[(page - 1) * size : page * size]}
            )
        for run in self.runs:
            if asked.path == f"{actions}/runs/{run['id']}":
                return Answered.of(200, run)
            if asked.path == f"{actions}/runs/{run['id']}/cancel":
                if run["status"] == "completed":
                    return refusal(409, "Cannot cancel a workflow run that is completed.")
                if not self.stubborn:
                    run |= {"status": "completed", "conclusion": "cancelled"}
                return Answered.of(202, {})
            if asked.path == f"{actions}/runs/{run['id']}/force-cancel":
                run |= {"status": "completed", "conclusion": "cancelled"}
                return Answered.of(202, {})
        return refusal(404, "Not Found")

    def _dispatch(self, body: Document) -> Answered:
        if body["ref"] != "main":
            return refusal(422, f"No ref found for: {body['ref']}")
        self.inputs.append(body["inputs"])
        run = self.a_run(f"loominal {body['inputs']['loominal_launch']}")
        if self.lost:
            self.lost = False
            return Answered(cut=True)
        if not self.details:
            return Answered(status=204)
        url = f"https://api.github.com/repos/owner/agents/actions/runs/{run['id']}"
        return Answered.of(200, {"workflow_run_id": run["id"], "run_url": url, "html_url": run["html_url"]})

    def a_run(self, title: str) -> Document:
        """Make a run and return it."""
        number = 1000 + len(self.runs)
        run: Document = {"id": number, "status": "queued", "conclusion": None, "display_title": title}
        run["html_url"] = f"https://github.com/owner/agents/actions/runs/{number}"
        self.runs.insert(0, run)
        return run

    def started(self, launch: str) -> list[Got]:
        """Return what the workflows of a launch know, as their steps open it."""
        return [
            Got(launch=launch, enrolment=opened(KEY, inputs["loominal_enrolment"], launch))
            for inputs in self.inputs
            if inputs["loominal_launch"] == launch
        ]
