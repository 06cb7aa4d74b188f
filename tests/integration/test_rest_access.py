"""Who may ask what over HTTP: every route of the document, with every kind of bearer token, host and origin."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from loominal.weft.api.problems import PROBLEM, ProblemDetails
from tests.integration.event_reader import place_of
from tests.integration.fabric import Fabric
from tests.integration.test_http_door import eventually, run
from tests.patience import SOON

Json = Any  # Any: JSON Schema, and what is sent by it
OPEN = {"/health", "/ready"}
DOCUMENTS = ("/api/openapi.json", "/api/docs")
OF_THE_FABRIC = {"/metrics", "/api/projects", "/api/stats"}  # tell each bearer token of its own projects
SECRETS = ("shop", "boss", "a-secret-item", "a secret plan")
OPERATORS = re.compile(
    r"(get|post|delete) /api/(grants|invitations)\b|put /api/policy|post /api/agents/.*/(revoke|shutdown)"
    r"|(post|put|delete) /api/targets\b"
)


class Route(msgspec.Struct, frozen=True):
    """One way to ask: a path that names what there is, and a body that is good."""

    method: str
    path: str
    body: Json = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Gate:
    """The HTTP interface of a home's weft. An error is always told in the same form."""

    def __init__(self, home: Path, client: httpx2.Client) -> None:
        self.home = home
        self.own = (home / "api.token").read_text().strip()
        self._client = client

    def ask(self, route: Route, bearer: str = "", project: str = "", **headers: str) -> httpx2.Response:
        """Return the answer."""
        shown = {"authorization": f"Bearer {bearer}"} if bearer else {}
        query = {"projectId": project} if project else {}
        answer = self._client.request(
            route.method.upper(), route.path, params=query, headers=shown | headers, json=route.body
        )
        if answer.is_error:
            assert answer.headers["content-type"] == PROBLEM, route
            assert answer.json().keys() == {*ProblemDetails.__struct_encode_fields__}, route
            assert answer.json()["requestId"] == answer.headers["x-request-id"], route
        return answer

    def projects(self, bearer: str) -> httpx2.Response:
        """Return the answer to which projects a bearer token is for."""
        return self.ask(Route("get", "/api/projects"), bearer)


@pytest.fixture
async def gate(private_fabric: Fabric) -> AsyncIterator[Gate]:
    """The way into a fabric with a project in it, beside another one."""
    private_fabric.weft_environment = {"API_RATE": "100000"}
    private_fabric.start()
    async with (
        private_fabric.connect("boss", project="shop", capabilities=["go"]) as boss,
        private_fabric.connect("eve", project="other", capabilities=["go"]),
    ):
        await boss.broadcast_work_offer("a secret plan", capabilities=["cobol"], task_id="a-secret-item")
        with httpx2.Client(base_url=place_of(private_fabric.home)[0], timeout=SOON) as client:
            yield Gate(private_fabric.home, client)


def routes(gate: Gate) -> Iterator[Route]:
    """Yield every route and method of the document."""
    document = gate.ask(Route("get", "/api/openapi.json"), gate.own).json()
    schemas = document["components"]["schemas"]
    named = {"agent_id": "boss", "work_id": "a-secret-item", "item_id": "a-secret-item", "channel": "general"}
    for path, item in document["paths"].items():
        real = re.sub(r"{(\w+)}", lambda found: named.get(found[1], "x"), path)
        for method, operation in item.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            yield Route(method, real, sample(body, schemas) if body else None)
    yield from (Route("get", path) for path in DOCUMENTS)


def sample(schema: Json, schemas: Json) -> Json:
    """Return something that a schema allows."""
    if "$ref" in schema:
        return sample(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: sample(schema["properties"][name], schemas) for name in schema.get("required", ())}
        case "array":
            return [sample(schema["items"], schemas)] * schema.get("minItems", 0)
        case "string":
            return "personal"
    return schema.get("minimum", 1)


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"] if answer.is_error else ""


def token(gate: Gate, name: str, *options: str) -> str:
    """Return a new bearer token."""
    made = run(gate.home, "token", "create", name, *options)
    assert made.exit_code == 0, made.stderr
    return made.stdout.strip()


def test_without_a_good_bearer_token_every_route_says_the_same_and_nothing_else(gate: Gate) -> None:
    expired = token(gate, "expired", "--role", "operator", "--expires", "1s")
    revoked = token(gate, "revoked", "--role", "operator")
    eventually(lambda: gate.projects(revoked).is_success)
    assert run(gate.home, "token", "revoke", "revoked").exit_code == 0
    eventually(lambda: gate.projects(revoked).is_error and gate.projects(expired).is_error)
    shown = ["", "Bearer", f"Basic {gate.own}", f"bearer{gate.own}", f"Bearer {gate.own[:-1]}"]
    shown += [f"Bearer {each}" for each in ("lmn_wrong", expired, revoked)]

    told = set()
    for route in routes(gate):
        for authorization in shown:
            refused = gate.ask(route, project="shop", authorization=authorization)
            if route.path in OPEN:
                assert refused.status_code == 200, route
            else:
                assert code(refused) == (401, "forbidden"), (route, authorization)
                told.add(refused.text.replace(refused.headers["x-request-id"], ""))
    assert len(told) == 1


def test_a_bearer_token_of_another_project_learns_nothing_of_this_one(gate: Gate) -> None:
    foreign = token(gate, "foreign", "--role", "operator", "--project", "other")
    eventually(lambda: gate.projects(foreign).is_success)

    for route in routes(gate):
        named = ("",) if route.path in DOCUMENTS else ("shop", "no-such-project")
        answers = [gate.ask(route, foreign, project) for project in named]
        if route.path in {*OPEN, *DOCUMENTS, *OF_THE_FABRIC}:
            assert {answer.status_code for answer in answers} <= {200, 403}, route
        else:
            assert [code(each) for each in answers] == [(403, "forbidden")] * 2, (route, answers[0].text)
        for told in (answer.text.replace("project 'shop'", "") for answer in answers):
            assert not [secret for secret in SECRETS if secret in told], (route, told)
    listed = gate.projects(foreign).json()
    assert [each["projectId"] for each in listed["projects"]] == ["other"]


def test_an_operators_bearer_token_decides_nothing_in_projects_that_it_is_not_for(gate: Gate) -> None:
    foreign = token(gate, "foreign", "--role", "operator", "--project", "other")
    eventually(lambda: gate.projects(foreign).is_success)
    body = {"user": "ada", "projects": ["shop"], "boundaries": ["personal"]}
    theirs = gate.ask(Route("post", "/api/grants", body), gate.own, "shop").json()["id"]

    assert code(gate.ask(Route("post", "/api/grants", body), foreign)) == (403, "forbidden")
    assert code(gate.ask(Route("post", "/api/grants", body | {"projects": ["other", "shop"]}), foreign))[0] == 403
    assert code(gate.ask(Route("delete", f"/api/grants/{theirs}"), foreign)) == (404, "not_found")
    listed = gate.ask(Route("get", "/api/grants"), gate.own, "shop").json()["grants"]
    assert theirs in [each["id"] for each in listed]

    ours = gate.ask(Route("post", "/api/grants", body | {"projects": []}), foreign)
    assert ours.json()["projects"] == ["other"]
    assert gate.ask(Route("delete", f"/api/grants/{ours.json()['id']}"), foreign).is_success


def test_an_operators_bearer_token_of_one_project_has_nothing_run_as_the_fabrics_own_user(gate: Gate) -> None:
    bound = token(gate, "bound", "--role", "operator", "--project", "shop")
    eventually(lambda: gate.projects(bound).is_success)
    runs_here: Json = {
        "name": "here",
        "agentType": "exec",
        "capabilities": ["py"],
        "boundaries": ["personal"],
        "mechanism": "local",
        "config": {"command": ["id"]},
    }

    assert code(gate.ask(Route("post", "/api/targets", runs_here), bound)) == (403, "forbidden")
    assert gate.ask(Route("post", "/api/targets", runs_here), gate.own, "shop").status_code == 201
    changed = runs_here | {"config": {"command": ["cat", "/etc/passwd"]}}
    assert code(gate.ask(Route("put", "/api/targets/here", changed), bound)) == (403, "forbidden")
    assert gate.ask(Route("get", "/api/targets/here"), gate.own, "shop").json()["config"]["command"] == ["id"]
    assert gate.ask(Route("delete", "/api/targets/here"), bound).is_success


def test_of_two_people_who_replace_a_target_the_slower_one_is_told(gate: Gate) -> None:
    body: Json = {
        "name": "both",
        "agentType": "exec",
        "capabilities": ["py"],
        "boundaries": ["personal"],
        "mechanism": "local",
        "config": {"command": ["id"]},
    }
    assert gate.ask(Route("post", "/api/targets", body), gate.own, "shop").status_code == 201
    replace, look = Route("put", "/api/targets/both", body | {"maxConcurrent": 2}), Route("get", "/api/targets/both")
    seen = gate.ask(look, gate.own, "shop").headers["etag"]

    first = gate.ask(replace, gate.own, "shop", **{"if-match": seen})
    slower = gate.ask(replace, gate.own, "shop", **{"if-match": seen})

    assert (first.status_code, slower.status_code) == (200, 412)
    assert gate.ask(replace, gate.own, "shop", **{"if-match": first.headers["etag"]}).is_success
    assert gate.ask(replace, gate.own, "shop", **{"if-match": "*"}).is_success
    assert gate.ask(Route("delete", "/api/targets/both"), gate.own, "shop").is_success


def test_an_idempotency_key_with_another_message_is_another_deed(gate: Gate) -> None:
    say, key = "/api/channels/general/messages", {"idempotency-key": "k"}
    first, again, other = (
        gate.ask(Route("post", say, {"message": text}), gate.own, "shop", **key) for text in ("one", "one", "two")
    )

    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


def test_observers_only_look_and_agents_do_nothing_that_is_for_operators(gate: Gate) -> None:
    tokens = {role: token(gate, role, "--role", role) for role in ("observer", "agent")}
    eventually(lambda: all(gate.projects(each).is_success for each in tokens.values()))
    every = [each for each in routes(gate) if each.path != "/api/events"]

    for route in every:
        for_operators = bool(OPERATORS.match(str(route)))
        for role, bearer in tokens.items():
            answer = gate.ask(route, bearer, "" if route.path in OPEN else "shop")
            refused = for_operators or (role == "observer" and route.method != "get")
            assert (code(answer) == (403, "forbidden")) == refused, (role, route, answer.text)
            assert answer.status_code < 500, (role, route)


def test_no_route_answers_under_a_name_that_is_not_ours_or_to_a_page_of_elsewhere(gate: Gate) -> None:
    for route in routes(gate):
        assert gate.ask(route, gate.own, host="evil.example").status_code == 421, route
        assert gate.ask(route, gate.own, origin="http://evil.example").status_code == 403, route
