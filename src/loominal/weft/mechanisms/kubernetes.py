"""`kubernetes`: an agent is a Job of one pod. Its enrolment is in a Secret that goes with the Job.

The Job's name follows from the launch's id, so asking again makes no second one: what was not answered is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from loominal.model.errors import Forbidden, StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition, Order, Seen
from loominal.model.mechanism import KubernetesConfig, Mechanism
from loominal.model.names import one_line
from loominal.weft.mechanisms import kubernetes_job as manifests
from loominal.weft.mechanisms.kubernetes_access import client
from loominal.weft.mechanisms.kubernetes_pods import seen
from loominal.weft.mechanisms.means import Means

if TYPE_CHECKING:
    import httpx2
    from lightkube import AsyncClient
    from lightkube.core.client import FieldSelector
    from lightkube.resources.batch_v1 import Job
    from lightkube.resources.core_v1 import Event, Pod

TRIES = 3  # of what the API server has not answered, or could not do
PAUSE_SECONDS = 1.0  # between two of these, and before a broken watch is begun again
FORCE_SECONDS = 15.0  # after the grace, for the cluster to end what has not ended
# what reading an answer raises that is none; lightkube 108: KeyError for a 410 in a watch
UNREADABLE = (msgspec.MsgspecError, RecursionError, KeyError, ValueError)
CONFLICT, GONE, INTERNAL = 409, 404, 500
HINTS = {
    401: "the cluster does not know the kubeconfig's user: its credentials may have expired",
    403: "allow it to create, get, watch and delete jobs, to create secrets, and to get, list and delete pods",
    404: "see that the namespace exists, and that the kubeconfig is of this cluster",
    422: "the target's config has a value that the cluster does not take",
    429: "the cluster is busy: try again later",
}
T = TypeVar("T")


class Kubernetes:
    """Starts agents on a cluster. The reference is "namespace/name of the Job"."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def start(self, config: KubernetesConfig, order: Order) -> str:
        """Make the Job and its Secret and return its reference; whether its pod can run is for `look` to say.

        Raises: StartFailed, Unconfirmed, Forbidden.
        """
        self._means.require(Mechanism.KUBERNETES)
        secrets = manifests.secrets_of(config, order, self._means.variables(config.env))
        async with self._client(config) as cluster:
            uid = await _make_job(cluster, config, order, secrets)
            await _make_secret(cluster, config, order, secrets, uid)
        return _reference(config, order.launch)

    async def look(self, config: KubernetesConfig, launch: str, reference: str) -> Seen:
        """Return what the Job and its pods say. Raises: Unreachable."""
        async with self._asked(config) as cluster:
            job = await _job(cluster, launch)
            if job is None or not _is_of(job, launch):
                return Seen(condition=Condition.GONE, reference=reference)
            pods = await _pods(cluster, launch)
            events = [] if pods else await _events(cluster, launch)
            return seen(job, pods, events, _reference(config, launch))

    async def stop(self, config: KubernetesConfig, launch: str, reference: str, *, grace_seconds: float) -> None:
        """Delete the Job, its pods and its Secret, and return when they are gone.

        A pod has `grace_seconds`, at most `GRACE_SECONDS` of its Job. Raises: Unreachable.
        """
        async with self._asked(config) as cluster:
            from lightkube.resources.batch_v1 import Job
            from lightkube.resources.core_v1 import Pod
            from lightkube.types import CascadeType

            job = await _job(cluster, launch)
            if job is None or not _is_of(job, launch):
                return
            name = manifests.name_of(launch)
            await _gone_is_fine(cluster.delete(Job, name, cascade=CascadeType.FOREGROUND))
            for pod in await _pods(cluster, launch):
                if pod.metadata and pod.metadata.name and grace_seconds < manifests.GRACE_SECONDS:
                    shorter = cluster.delete(Pod, pod.metadata.name, grace_period=int(grace_seconds))
                    await _gone_is_fine(shorter)
            try:
                async with asyncio.timeout(min(grace_seconds, manifests.GRACE_SECONDS) + FORCE_SECONDS):
                    await _until_gone(cluster, launch)
            except TimeoutError as error:
                raise Unreachable(f"the Job {name} is deleted, and its pods have not ended yet") from error

    async def check(self, config: KubernetesConfig) -> str:
        """Return that the cluster would take a Job and a Secret, which are not made. Raises: StartFailed, Forbidden."""
        self._means.require(Mechanism.KUBERNETES)
        order = Order(launch="check", target="check", project="", agent_type="", enrolment="none")
        secrets = manifests.secrets_of(config, order, self._means.variables(config.env))
        async with self._client(config) as cluster:
            from lightkube.resources.batch_v1 import Job
            from lightkube.resources.core_v1 import Secret

            job = Job.from_dict(manifests.job(config, order, secrets))
            secret = Secret.from_dict(manifests.secret(config, order, secrets, ""))
            await _made(lambda: cluster.create(job, dry_run=True), "a Job")
            await _made(lambda: cluster.create(secret, dry_run=True), "a Secret")
        return f"the cluster takes Jobs in {config.namespace}; whether it can pull {config.image} is not tried"

    @asynccontextmanager
    async def _client(self, config: KubernetesConfig) -> AsyncIterator[AsyncClient]:
        async with client(self._means, config) as cluster:
            yield cluster

    @asynccontextmanager
    async def _asked(self, config: KubernetesConfig) -> AsyncIterator[AsyncClient]:
        """Give a client; whatever goes wrong with it, nothing is known of what was started: Unreachable."""
        import httpx2

        try:
            async with self._client(config) as cluster:
                from lightkube.core.exceptions import ConfigError

                try:
                    yield cluster
                except ConfigError as error:
                    raise Unreachable(_why(error)) from error
        except (StartFailed, Forbidden) as error:
            raise Unreachable(error.message, error.hint) from error
        except httpx2.HTTPStatusError as error:
            raise Unreachable(*_said(error, "to be asked")) from error
        except (httpx2.HTTPError, *UNREADABLE) as error:
            raise Unreachable(f"the cluster gives no answer: {_why(error)}") from error


async def _make_job(cluster: AsyncClient, config: KubernetesConfig, order: Order, secrets: dict[str, str]) -> str:
    """Return the uid of the launch's Job, which is made unless it is there."""
    from lightkube.resources.batch_v1 import Job

    wanted = Job.from_dict(manifests.job(config, order, secrets))
    job = await _made(lambda: cluster.create(wanted), "a Job")
    if job is None:  # it is there
        job = await _made(lambda: cluster.get(Job, manifests.name_of(order.launch)), "a Job")
    if job is None or not _is_of(job, order.launch):
        raise StartFailed(f"there is another Job {_reference(config, order.launch)}", "delete that one")
    if job.metadata is None or job.metadata.deletionTimestamp:
        raise StartFailed(f"the Job {_reference(config, order.launch)} is being deleted", "start another")
    return job.metadata.uid or ""


async def _make_secret(
    cluster: AsyncClient, config: KubernetesConfig, order: Order, secrets: dict[str, str], uid: str
) -> None:
    """Make the launch's Secret unless it is there; without one there must be no Job."""
    from lightkube.resources.batch_v1 import Job
    from lightkube.resources.core_v1 import Secret
    from lightkube.types import CascadeType

    wanted = Secret.from_dict(manifests.secret(config, order, secrets, uid))
    try:
        await _made(lambda: cluster.create(wanted), "a Secret")
    except StartFailed as error:
        name = manifests.name_of(order.launch)
        try:
            undone = "to delete the Job again"
            await _made(lambda: _gone_is_fine(cluster.delete(Job, name, cascade=CascadeType.BACKGROUND)), undone)
        except StartFailed as kept:
            raise Unconfirmed(f"{error.message}; {kept.message}", error.hint) from error
        raise


async def _made(ask: Callable[[], Awaitable[T]], what: str) -> T | None:
    """Return what the cluster has made; None if it is there already. What names what it makes can be asked for again.

    Raises: StartFailed if it refuses, Unconfirmed if nothing tells.
    """
    import httpx2
    from lightkube.core.exceptions import ConfigError

    sent, lost = False, ""
    for left in reversed(range(TRIES)):
        try:
            return await ask()
        except httpx2.HTTPStatusError as error:
            status = _status(error)
            if status == CONFLICT:
                return None
            if status < INTERNAL:
                message, hint = _said(error, what)
                raise StartFailed(message, hint, retry_after_seconds=_retry_after(error)) from error
            sent, lost = True, _said(error, what)[0]
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            lost = f"the cluster cannot be reached: {_why(error)}"
        except ConfigError as error:  # the file with the bearer token is read for each request
            raise StartFailed(_why(error), "see whether kubectl works with the kubeconfig") from error
        except (httpx2.HTTPError, *UNREADABLE) as error:
            sent, lost = True, f"the cluster was asked for {what}, and its answer is lost: {_why(error)}"
        if left:
            await asyncio.sleep(PAUSE_SECONDS)
    raise Unconfirmed(lost) if sent else StartFailed(lost, "see whether kubectl works with the kubeconfig")


async def _job(cluster: AsyncClient, launch: str) -> Job | None:
    from lightkube.resources.batch_v1 import Job

    return await _gone_is_fine(cluster.get(Job, manifests.name_of(launch)))


async def _pods(cluster: AsyncClient, launch: str) -> list[Pod]:
    from lightkube.resources.core_v1 import Pod

    return [pod async for pod in cluster.list(Pod, labels={manifests.LAUNCH_LABEL: manifests.label_of(launch)})]


async def _events(cluster: AsyncClient, launch: str) -> list[Event]:
    """Return what the cluster says about the Job itself: why there is no pod; nothing if that may not be read."""
    import httpx2
    from lightkube.resources.core_v1 import Event

    about: FieldSelector = {"involvedObject.kind": "Job", "involvedObject.name": manifests.name_of(launch)}
    try:
        return [event async for event in cluster.list(Event, fields=about)]
    except httpx2.HTTPStatusError as error:
        if _status(error) < INTERNAL:
            return []
        raise


async def _gone_is_fine(answer: Awaitable[T]) -> T | None:
    import httpx2

    try:
        return await answer
    except httpx2.HTTPStatusError as error:
        if _status(error) == GONE:
            return None
        raise


async def _until_gone(cluster: AsyncClient, launch: str) -> None:
    """Return when there is no Job any more. A watch that breaks, or is too old (410), is begun anew."""
    import httpx2
    from lightkube.resources.batch_v1 import Job

    name = manifests.name_of(launch)
    while (job := await _job(cluster, launch)) is not None and job.metadata is not None:
        try:
            since = job.metadata.resourceVersion
            async for change, _ in cluster.watch(Job, fields={"metadata.name": name}, resource_version=since):
                if change == "DELETED":
                    return
        except (httpx2.HTTPError, *UNREADABLE):
            await asyncio.sleep(PAUSE_SECONDS)


def _is_of(job: Job, launch: str) -> bool:
    return job.metadata is not None and (job.metadata.annotations or {}).get(manifests.LAUNCH_LABEL) == launch


def _reference(config: KubernetesConfig, launch: str) -> str:
    return f"{config.namespace}/{manifests.name_of(launch)}"


def _said(error: httpx2.HTTPStatusError, what: str) -> tuple[str, str]:
    """Return what a refusal says and what can be done."""
    status = _status(error)
    return f"the cluster refused {what} with {status}: {_why(error)}", HINTS.get(status, "see the cluster's own log")


def _status(error: httpx2.HTTPStatusError) -> int:
    return error.response.status_code


def _retry_after(error: httpx2.HTTPStatusError) -> float:
    asked = error.response.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


def _why(error: Exception) -> str:
    return one_line(str(error), 500) or type(error).__name__
