"""`kubernetes` against what answers like an API server and holds every Job and Secret against the published schemas."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loominal.model.errors import Forbidden, StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition, Order
from loominal.model.mechanism import Config, KubernetesConfig, Mechanism
from loominal.weft.mechanisms import kubernetes
from loominal.weft.mechanisms.kubernetes import Kubernetes
from loominal.weft.mechanisms.kubernetes_job import job, name_of, secret
from loominal.weft.mechanisms.means import Means
from loominal.weft.weft_file import Allow
from tests.http_stand_in import Answered, Asked, StandIn, standing_in
from tests.kube_stand_in import TOKEN, Cluster, Document, environment, expanded, kubeconfig, refusal, validators
from tests.mechanism_conformance import Got, SeesAgents, StartsAgents, an_order

HOSTILE = "$(LOOMINAL_ENROLMENT) $$ $ $x `id` ; \" ' \n é {{ }}"


class Place:
    """The cluster, with what a target says of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cluster = Cluster()
        self.stand_in: StandIn

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    def write(self, **changes: Any) -> None:  # Any: by name
        """Write the kubeconfig."""
        kubeconfig(self.kubeconfig, **{"server": f"http://127.0.0.1:{self.stand_in.port}", **changes})

    def driver(self, **changes: Any) -> Kubernetes:  # Any: by name
        given = {"mechanisms": (Mechanism.KUBERNETES,), "env": ("API_KEY",), "kubeconfigs": (str(self.kubeconfig),)}
        environ = {"API_KEY": "a key of weft's", "OTHER": "secret"}
        return Kubernetes(Means(allow=Allow(**{**given, **changes}), home=self.home, environ=environ))

    def config(self, **changes: Any) -> KubernetesConfig:  # Any: by name
        return KubernetesConfig(**{"namespace": "agents", "image": "registry.example/agent:1", **changes})

    def broken(self) -> tuple[Config, str]:
        return self.config(namespace="elsewhere"), "404"

    def forbidden(self) -> tuple[Kubernetes, Config]:
        return self.driver(mechanisms=()), self.config()

    def started(self, launch: str) -> list[Got]:
        return self.cluster.started(launch)


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(kubernetes, "PAUSE_SECONDS", 0.05)
    there = Place(tmp_path)
    async with standing_in(there.cluster) as there.stand_in:
        there.write()
        yield there


class TestKubernetes(StartsAgents, SeesAgents):
    """As every mechanism."""

    test_the_same_order_after_the_end_starts_nothing = None  # type: ignore[assignment]  # a deleted Job leaves nothing


CONFIGS: list[Document] = [
    {},
    {"command": ["agent", HOSTILE], "args": ["--", HOSTILE], "env": {"A": HOSTILE, "B": ""}},
    {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
    {"service_account": "agent", "image_pull_secret": "registry", "ttl_seconds_after_finished": 0},
    {"active_deadline_seconds": 3600},
]


@pytest.mark.parametrize("given", CONFIGS)
def test_a_job_and_its_secret_are_valid_on_the_oldest_and_the_newest_cluster(given: Document) -> None:
    config = KubernetesConfig(namespace="agents", image="agent", **given)
    order = an_order()
    secrets = {"LOOMINAL_ENROLMENT": order.enrolment}
    made = {"Job": job(config, order, secrets), "Secret": secret(config, order, secrets, "a-uid")}

    for kind, validator in validators():
        assert [error.message for error in validator.iter_errors(json.loads(json.dumps(made[kind])))] == []
        made[kind]["spec" if kind == "Job" else "data"]["unknown"] = {"x": 1}
        assert not validator.is_valid(made[kind])  # it is strict
        del made[kind]["spec" if kind == "Job" else "data"]["unknown"]


def test_a_job_runs_its_pod_once_without_more_rights_than_it_needs() -> None:
    order = an_order("l_0123456789abcdef")
    made = job(KubernetesConfig(namespace="agents", image="agent"), order, {})
    pod = made["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert (made["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert made["spec"]["ttlSecondsAfterFinished"] == 300
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert made["metadata"]["labels"]["loominal/launch"] == order.launch
    assert made["spec"]["template"]["metadata"]["labels"] == made["metadata"]["labels"]


async def test_values_arrive_literally_and_no_secret_is_in_the_job(place: Place) -> None:
    order = an_order()
    config = place.config(command=["run", HOSTILE], args=[HOSTILE], env={"A": HOSTILE, "API_KEY": "", "OTHER": ""})

    await place.driver().start(config, order)

    [made] = place.cluster.history
    known = environment(made)
    [container] = made["spec"]["template"]["spec"]["containers"]
    assert known == {
        "A": HOSTILE,
        "OTHER": "",
        "API_KEY": "a key of weft's",
        "LOOMINAL_LAUNCH": order.launch,
        "LOOMINAL_ENROLMENT": order.enrolment,
    }
    assert [expanded(word) for word in (*container["command"], *container["args"])] == ["run", HOSTILE, HOSTILE]
    del made["secrets"]
    for kept in (order.enrolment, "a key of weft's"):
        assert kept not in json.dumps(made)
        assert base64.b64encode(kept.encode()).decode() not in json.dumps(made)


@pytest.mark.parametrize(
    ("code", "reason", "message", "hint"),
    [
        (401, "Unauthorized", "Unauthorized", "credentials"),
        (403, "Forbidden", 'jobs is forbidden: User "x" cannot create', "allow it"),
        (403, "Forbidden", "exceeded quota: agents, requested: pods=1", "allow it"),
        (404, "NotFound", 'namespaces "agents" not found', "namespace"),
        (422, "Invalid", "Job is invalid: spec.template", "config"),
        (429, "TooManyRequests", "too many requests", "busy"),
    ],
)
async def test_a_refusal_is_certain_and_says_what_to_do(
    place: Place, code: int, reason: str, message: str, hint: str
) -> None:
    place.cluster.instead = [("POST", "/jobs", refusal(code, reason, message, Retry_After="7"))]

    with pytest.raises(StartFailed) as caught:
        await place.driver().start(place.config(), an_order())

    assert f"{code}: {message}" in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.retry_after_seconds == 7
    assert len(place.stand_in.asked) == 1


@pytest.mark.parametrize("what", ["/jobs", "/secrets"])
@pytest.mark.parametrize("lost", [True, False])
async def test_what_is_not_answered_is_asked_again_and_made_once(place: Place, what: str, lost: bool) -> None:
    if lost:
        place.cluster.lost = [("POST", what)]  # it was done
    else:
        place.cluster.instead = [
            ("POST", what, refusal(503, "Unavailable", "later")),
            ("POST", what, Answered(cut=True)),
        ]
    order = an_order()

    reference = await place.driver().start(place.config(), order)

    assert reference == f"agents/{name_of(order.launch)}"
    assert (len(place.cluster.history), len(place.cluster.jobs)) == (1, 1)


NESTED = Answered(status=201, body=b'{"metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001)


@pytest.mark.parametrize(
    "answer", [refusal(500, "InternalError", "etcd"), Answered(status=502), Answered(cut=True), NESTED]
)
async def test_a_cluster_that_never_answers_leaves_it_unconfirmed(place: Place, answer: Answered) -> None:
    place.cluster.instead = [("POST", "/jobs", answer)] * 3

    with pytest.raises(Unconfirmed):
        await place.driver().start(place.config(), an_order())

    assert (await place.driver().look(place.config(), "l_x", "")).condition is Condition.GONE


async def test_without_its_secret_there_is_no_job(place: Place) -> None:
    place.cluster.instead = [("POST", "/secrets", refusal(403, "Forbidden", "no secrets"))]

    with pytest.raises(StartFailed, match="no secrets"):
        await place.driver().start(place.config(), an_order())

    assert place.cluster.jobs == {}


async def test_a_job_of_somebody_else_is_left_alone(place: Place) -> None:
    order = an_order()
    theirs = job(place.config(), Order(launch="other", target="t", project="p", agent_type="a"), {})
    theirs["metadata"] |= {"name": name_of(order.launch), "uid": "u", "resourceVersion": "1"}
    place.cluster.jobs[name_of(order.launch)] = theirs

    with pytest.raises(StartFailed, match="another Job"):
        await place.driver().start(place.config(), order)
    await place.driver().stop(place.config(), order.launch, "", grace_seconds=1)
    assert (await place.driver().look(place.config(), order.launch, "")).condition is Condition.GONE
    assert place.cluster.jobs[name_of(order.launch)] is theirs


def waiting(reason: str, message: str) -> Document:
    return {
        "phase": "Pending",
        "containerStatuses": [
            {
                "name": "agent",
                "image": "i",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}},
            }
        ],
    }


def unschedulable(message: str) -> Document:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (waiting("ImagePullBackOff", "Back-off pulling image"), "ImagePullBackOff: Back-off pulling image"),
        (waiting("CreateContainerConfigError", "no secret"), "CreateContainerConfigError: no secret"),
        (unschedulable("0/3 nodes: insufficient cpu"), "Unschedulable: 0/3 nodes: insufficient cpu"),
        ({"phase": "Running"}, ""),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "Evicted: low on memory"),
    ],
)
async def test_a_look_says_what_a_pod_waits_for(place: Place, status: Document, detail: str) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    place.cluster.pods[f"{name_of(order.launch)}-x"]["status"] = status

    seen = await place.driver().look(place.config(), order.launch, reference)

    assert (seen.condition, seen.detail) == (Condition.RUNNING, detail)


async def test_a_look_says_why_there_is_no_pod(place: Place) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    place.cluster.pods.clear()
    about = {"kind": "Job", "name": name_of(order.launch)}
    event = {"type": "Warning", "reason": "FailedCreate", "message": "exceeded quota: agents"}
    place.cluster.events = [{"metadata": {}, "involvedObject": about, **event}]

    assert (await place.driver().look(place.config(), order.launch, reference)).detail == (
        "FailedCreate: exceeded quota: agents"
    )
    place.cluster.instead = [("GET", "/events", refusal(403, "Forbidden", "no events"))]
    assert (await place.driver().look(place.config(), order.launch, reference)).detail == ""


@pytest.mark.parametrize(("kind", "code"), [("Complete", 0), ("Failed", 7)])
async def test_a_look_sees_the_end_with_its_exit_code_and_last_words(place: Place, kind: str, code: int) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    name = name_of(order.launch)
    ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": "last words"}
    status = waiting("", "")
    status["containerStatuses"][0]["state"] = {"terminated": ended}
    place.cluster.pods[f"{name}-x"]["status"] = status
    end = {"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}
    place.cluster.jobs[name]["status"] = {"conditions": [end]}

    seen = await place.driver().look(place.config(), order.launch, reference)

    assert (seen.condition, seen.exit_code, seen.output) == (Condition.ENDED, code, "last words")
    assert ("it failed" in seen.detail) is (kind == "Failed")


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
async def test_a_cluster_that_tells_nothing_is_unreachable(place: Place, code: int) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    place.cluster.instead = [("GET", name_of(order.launch), refusal(code, "No", "no answer"))]

    with pytest.raises(Unreachable, match=str(code)):
        await place.driver().look(place.config(), order.launch, reference)
    assert (await place.driver().look(place.config(), order.launch, reference)).condition is Condition.RUNNING


def an_error_event(code: int) -> Answered:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}, "code": code}
    event = {"type": "ERROR", "object": {**status, "reason": "Expired", "message": "too old resource version"}}
    return Answered(headers={"Content-Type": "application/json"}, lines=(json.dumps(event).encode(),))


@pytest.mark.parametrize(
    "broken",
    [an_error_event(410), refusal(410, "Expired", "too old"), Answered(cut=True), Answered(lines=(b'{"type": "MOD',))],
)
async def test_an_end_is_waited_for_through_broken_watches(place: Place, broken: Answered) -> None:
    order = an_order()
    await place.driver().start(place.config(), order)
    place.cluster.lasting = True
    place.cluster.instead = [
        ("GET", "/pods", Answered.of(200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []})),
        ("GET", "/jobs", broken),
    ]
    ending = place.driver().stop(place.config(), order.launch, "", grace_seconds=30)

    watches = 0

    async def ending_its_pod(asked: Asked) -> Answered:
        """Answer as the cluster does; the pod ends when the second watch begins."""
        nonlocal watches
        if (asked.method, asked.path[-5:]) == ("GET", "/jobs"):
            watches += 1
            if watches == 2:
                place.cluster.pods.clear()
                await place.cluster._collect()
        return await place.cluster(asked)

    place.stand_in.handler = ending_its_pod
    await ending

    assert watches >= 2
    assert (place.cluster.jobs, place.cluster.secrets) == ({}, {})


async def test_a_job_is_deleted_with_its_pods_within_the_grace(place: Place) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    place.cluster.lasting = True  # until they are deleted themselves

    await place.driver().stop(place.config(), order.launch, reference, grace_seconds=5)

    deleted = [asked for asked in place.stand_in.asked if asked.method == "DELETE"]
    assert deleted[0].query["propagationPolicy"] == "Foreground"
    assert deleted[1].query["gracePeriodSeconds"] == "5"
    assert (place.cluster.jobs, place.cluster.pods, place.cluster.secrets) == ({}, {}, {})


async def test_pods_that_do_not_end_leave_it_unknown(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "FORCE_SECONDS", 0.5)
    order = an_order()
    reference = await place.driver().start(place.config(), order)
    place.cluster.lasting = True
    place.cluster.instead = [("DELETE", "-x", refusal(404, "NotFound", "gone"))]

    with pytest.raises(Unreachable, match="have not ended yet"):
        await place.driver().stop(place.config(), order.launch, reference, grace_seconds=0)
    place.cluster.pods.clear()
    await place.cluster._collect()


async def test_credentials_from_a_program_are_refused_and_none_is_run(place: Place) -> None:
    for context, why in (("with-exec", "from a program"), ("nobody", "names no user"), ("missing", "missing")):
        with pytest.raises(StartFailed, match=why):
            await place.driver().start(place.config(context=context), an_order())
        with pytest.raises(Unreachable, match=why):
            await place.driver().look(place.config(context=context), "l_1", "")
    with pytest.raises(StartFailed, match="401"):
        await place.driver().check(place.config(context="stranger"))

    assert not (place.home / "touched").exists()
    assert place.cluster.jobs == {}


async def test_only_kubeconfigs_that_the_owner_names_are_read(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(place.kubeconfig.read_bytes())
    with pytest.raises(Forbidden, match="kubeconfig"):
        await place.driver().start(place.config(kubeconfig=str(other)), an_order())
    with pytest.raises(StartFailed, match="there is no kubeconfig"):
        await place.driver(kubeconfigs=()).start(place.config(), an_order())

    assert await place.driver().start(place.config(kubeconfig=str(place.kubeconfig)), an_order())


@pytest.mark.parametrize("text", ["", "[", "contexts: 7", "a: {b: ", f"clusters: [{TOKEN}]\ncontexts: []"])
async def test_a_kubeconfig_that_is_none_is_an_error_without_its_text(place: Place, text: str) -> None:
    place.kubeconfig.write_text(text)

    with pytest.raises(StartFailed) as caught:
        await place.driver().check(place.config())
    assert TOKEN not in caught.value.message


async def test_a_bearer_token_goes_nowhere_without_tls(place: Place) -> None:
    for changes in ({"server": "http://cluster.example"}, {"server": "https://cluster.example", "insecure": True}):
        place.write(**changes)
        with pytest.raises(StartFailed, match=r"TLS|verifying"):
            await place.driver().check(place.config())


async def test_without_the_extra_it_says_what_to_install(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightkube", None)

    for asking in (place.driver().start(place.config(), an_order()), place.driver().check(place.config())):
        with pytest.raises(StartFailed) as caught:
            await asking
        assert "loominal[k8s]" in caught.value.hint
    with pytest.raises(Unreachable):
        await place.driver().look(place.config(), "l_1", "")


async def test_a_check_makes_nothing(place: Place) -> None:
    await place.driver().check(place.config())

    assert (place.cluster.jobs, place.cluster.secrets) == ({}, {})
    assert [asked.query["dryRun"] for asked in place.stand_in.asked] == ["All", "All"]
