"""What answers like the API server of a Kubernetes cluster, as far as Jobs are concerned.

Every Job and Secret that it is asked to make has to be valid by the strict schemas of the oldest and the newest version
that Loominal is for (`integration/schemas`).
"""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import jsonschema_rs

from tests.http_stand_in import Answered, Asked
from tests.mechanism_conformance import Got

TOKEN = "a-bearer-token"
VERSIONS = ("1.30", "1.37")
SCHEMAS = Path(__file__).parent / "integration" / "schemas"
KINDS = {"Job": "io.k8s.api.batch.v1.Job", "Secret": "io.k8s.api.core.v1.Secret"}
Document = dict[str, Any]  # Any: what the API server keeps, as JSON


def validators() -> list[tuple[str, jsonschema_rs.Draft202012Validator]]:
    """Return the kinds that are validated, each with the validator of each version."""
    found = []
    for version in VERSIONS:
        document = json.loads((SCHEMAS / f"kubernetes-{version}.json").read_text())
        for kind, name in KINDS.items():
            schema = {**document, "$ref": f"#/$defs/{name}"}
            found.append((kind, jsonschema_rs.Draft202012Validator(schema)))
    return found


def refusal(code: int, reason: str, message: str, **headers: str) -> Answered:
    """Return an answer as the API server refuses: a Status."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return Answered.of(code, {**status, "message": message, "reason": reason, "code": code}, **headers)


class Cluster:
    """The cluster: what it has, and what it answers instead when a test says so."""

    def __init__(self) -> None:
        self.validators = validators()
        self.jobs: dict[str, Document] = {}
        self.secrets: dict[str, Document] = {}
        self.pods: dict[str, Document] = {}
        self.events: list[Document] = []
        self.history: list[Document] = []  # every Job that was ever made, with its Secret's data
        self.instead: list[tuple[str, str, Answered]] = []  # method, end of the path, the answer: each once
        self.lost: list[tuple[str, str]] = []  # method, end of the path: done, and not answered, each once
        self.lasting = False  # pods that do not end by themselves when their Job is deleted
        self.version = 100
        self._changed = asyncio.Condition()

    async def __call__(self, asked: Asked) -> Answered:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Unauthorized", "Unauthorized")
        for each in self.instead:
            if each[0] == asked.method and asked.path.endswith(each[1]):
                self.instead.remove(each)
                return each[2]
        answer = await self._answer(asked)
        for method, end in self.lost:
            if method == asked.method and asked.path.endswith(end):
                self.lost.remove((method, end))
                return Answered(cut=True)
        return answer

    async def _answer(self, asked: Asked) -> Answered:
        jobs, core = "/apis/batch/v1/namespaces/agents/jobs", "/api/v1/namespaces/agents"
        name = asked.path.rpartition("/")[2]
        match asked.method, asked.path.removesuffix(f"/{name}"):
            case "POST", "/apis/batch/v1/namespaces/agents" | "/api/v1/namespaces/agents":
                return self._make(asked, self.jobs if name == "jobs" else self.secrets)
            case "GET", "/apis/batch/v1/namespaces/agents":
                return await self._watch(asked)
            case "GET", path if path == jobs:
                return Answered.of(200, self.jobs[name]) if name in self.jobs else self._missing(name)
            case "DELETE", path if path == jobs:
                return await self._delete(asked, name)
            case "GET", path if path == core:
                items = list(self.pods.values()) if name == "pods" else self.events
                return Answered.of(200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
            case "DELETE", path if path == f"{core}/pods":
                if self.pods.pop(name, None) is None:
                    return self._missing(name)
                await self._collect()
                return Answered.of(200, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}})
        return self._missing(asked.path)

    def _missing(self, name: str) -> Answered:
        return refusal(404, "NotFound", f'"{name}" not found')

    def _make(self, asked: Asked, place: dict[str, Document]) -> Answered:
        document: Document = asked.json
        for kind, validator in self.validators:
            if kind == document["kind"]:
                for error in validator.iter_errors(document):
                    return refusal(422, "Invalid", f"{list(error.instance_path)}: {error.message}")
        name = document["metadata"]["name"]
        if name in place:
            return refusal(409, "AlreadyExists", f'"{name}" already exists')
        self.version += 1
        document["metadata"] |= {"uid": f"uid-{self.version}", "resourceVersion": str(self.version)}
        if asked.query.get("dryRun") == "All":
            return Answered.of(201, document)
        place[name] = document
        if document["kind"] == "Secret":
            job = self.jobs[name]
            assert document["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
            self.history.append({**job, "secrets": document["data"]})
            labels = job["spec"]["template"]["metadata"]["labels"]
            self.pods[f"{name}-x"] = {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": f"{name}-x", "labels": labels},
                "status": {"phase": "Running"},
            }
        return Answered.of(201, document)

    async def _delete(self, asked: Asked, name: str) -> Answered:
        if name not in self.jobs:
            return self._missing(name)
        self.jobs[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if not self.lasting:
            self.pods.clear()
        await self._collect()
        return Answered.of(200, {"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})

    async def _collect(self) -> None:
        """Let go of deleted Jobs without pods, and of their Secrets."""
        async with self._changed:
            for name, job in list(self.jobs.items()):
                if "deletionTimestamp" in job["metadata"] and f"{name}-x" not in self.pods:
                    del self.jobs[name]
                    self.secrets.pop(name, None)
            self._changed.notify_all()

    async def _watch(self, asked: Asked) -> Answered:
        name = asked.query["fieldSelector"].removeprefix("metadata.name=")
        assert asked.query["resourceVersion"]
        job = self.jobs.get(name)
        async with self._changed:
            await self._changed.wait_for(lambda: name not in self.jobs)
        event = {"type": "DELETED", "object": job or {"metadata": {"name": name}}}
        return Answered(headers={"Content-Type": "application/json"}, lines=(json.dumps(event).encode(),))

    def started(self, launch: str) -> list[Got]:
        """Return what the agents of a launch know, as their kubelet would tell them."""
        return [
            Got(launch=launch, enrolment=known["LOOMINAL_ENROLMENT"])
            for known in map(environment, self.history)
            if known["LOOMINAL_LAUNCH"] == launch
        ]


def environment(job: Document) -> dict[str, str]:
    """Return what the container of `job` has in its environment."""
    found = {}
    for each in job["spec"]["template"]["spec"]["containers"][0]["env"]:
        if "value" in each:
            found[each["name"]] = expanded(each["value"])
        else:
            key = each["valueFrom"]["secretKeyRef"]["key"]
            found[each["name"]] = base64.b64decode(job["secrets"][key]).decode()
    return found


def expanded(text: str) -> str:
    """Return `text` as a kubelet passes it on (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    out, rest = "", text
    while rest:
        if rest.startswith("$$"):
            out, rest = out + "$", rest[2:]
        elif rest.startswith("$(") and ")" in rest:
            out, rest = out + "<expanded>", rest.partition(")")[2]
        else:
            out, rest = out + rest[0], rest[1:]
    return out


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: {current}
clusters: [{{name: c, cluster: {{server: "{server}", insecure-skip-tls-verify: {insecure}}}}}]
contexts:
- {{name: first, context: {{cluster: c, user: with-token}}}}
- {{name: with-exec, context: {{cluster: c, user: with-exec}}}}
- {{name: nobody, context: {{cluster: c}}}}
- {{name: stranger, context: {{cluster: c, user: stranger}}}}
users:
- {{name: with-token, user: {{token: "{token}"}}}}
- {{name: stranger, user: {{token: other}}}}
- name: with-exec
  user: {{exec: {{apiVersion: client.authentication.k8s.io/v1beta1, command: touch, args: [{touched}]}}}}
"""


def kubeconfig(path: Path, server: str, *, current: str = "first", insecure: bool = False) -> Path:
    """Write a kubeconfig for `server` and return its path; one of its users has an exec plugin."""
    touched = path.parent / "touched"
    given = {
        "server": server,
        "current": current,
        "insecure": str(insecure).lower(),
        "touched": touched,
        "token": TOKEN,
    }
    path.write_text(KUBECONFIG.format(**given))
    return path
