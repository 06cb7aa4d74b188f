"""The Job and the Secret that start one agent on a Kubernetes cluster, as JSON: pure values."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

from loominal.model.agent import JsonObject
from loominal.model.launch import Order
from loominal.model.mechanism import KubernetesConfig
from loominal.weft.mechanisms.interface import ENROLMENT_VARIABLE, LAUNCH_VARIABLE

LAUNCH_LABEL = "loominal/launch"
TARGET_LABEL = "loominal/target"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
CONTAINER = "agent"
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")  # what a label's value may be
GRACE_SECONDS = 60  # for a pod to end in order: longer than the grace that agents are given by default


def name_of(launch: str) -> str:
    """Return what the Job and the Secret of a launch are called: the same for ever, so that there is one of each."""
    return f"loominal-{hashlib.sha256(launch.encode()).hexdigest()[:24]}"


def label_of(launch: str) -> str:
    """Return the value of the label that everything of a launch carries: its id, if that can be one."""
    return launch if LABEL.fullmatch(launch) else name_of(launch)


def job(config: KubernetesConfig, order: Order, secrets: Mapping[str, str]) -> JsonObject:
    """Return the Job of one pod that runs the agent, once; `secrets` are the variables that its Secret has."""
    labels = {
        LAUNCH_LABEL: label_of(order.launch),
        TARGET_LABEL: label_of(order.target),
        MANAGED_LABEL: "loominal",
    }
    spec: JsonObject = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": config.ttl_seconds_after_finished,
        "template": {"metadata": {"labels": labels}, "spec": _pod(config, order, secrets)},
    }
    if config.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = config.active_deadline_seconds
    metadata = {
        "name": name_of(order.launch),
        "namespace": config.namespace,
        "labels": labels,
        "annotations": {LAUNCH_LABEL: order.launch},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def secret(config: KubernetesConfig, order: Order, secrets: Mapping[str, str], job_uid: str) -> JsonObject:
    """Return the Secret with `secrets`; it goes when the Job goes."""
    name = name_of(order.launch)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
    metadata: JsonObject = {
        "name": name,
        "namespace": config.namespace,
        "labels": {LAUNCH_LABEL: label_of(order.launch), MANAGED_LABEL: "loominal"},
    }
    if job_uid:
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in secrets.items()},
    }


def secrets_of(config: KubernetesConfig, order: Order, variables: Mapping[str, str]) -> dict[str, str]:
    """Return what no Job may show: the enrolment, and of `variables` those whose values the target has not given."""
    ours = {name: value for name, value in variables.items() if value != config.env.get(name)}
    return {**ours, ENROLMENT_VARIABLE: order.enrolment}


def _pod(config: KubernetesConfig, order: Order, secrets: Mapping[str, str]) -> JsonObject:
    plain = {name: value for name, value in config.env.items() if name not in secrets} | {LAUNCH_VARIABLE: order.launch}
    reference = name_of(order.launch)
    container: JsonObject = {
        "name": CONTAINER,
        "image": config.image,
        "env": [
            *({"name": name, "value": literal(value)} for name, value in plain.items()),
            *({"name": name, "valueFrom": {"secretKeyRef": {"name": reference, "key": name}}} for name in secrets),
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so the pod itself tells why it failed
        # not `runAsNonRoot`: the images of most agents' clients run as root and would never start
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if config.command:
        container["command"] = [literal(word) for word in config.command]
    if config.args:
        container["args"] = [literal(word) for word in config.args]
    if config.resources:
        container["resources"] = config.resources
    pod: JsonObject = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "enableServiceLinks": False,
        "automountServiceAccountToken": config.service_account is not None,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if config.service_account is not None:
        pod["serviceAccountName"] = config.service_account
    if config.image_pull_secret is not None:
        pod["imagePullSecrets"] = [{"name": config.image_pull_secret}]
    return pod


def literal(text: str) -> str:
    """Return `text` so that it arrives as it is: a kubelet takes $(NAME) for a variable, and $$ for $."""
    return text.replace("$", "$$")
