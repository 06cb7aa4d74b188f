"""`github-actions`: an agent is a run of a workflow such as `deploy/github/loominal-agent.yml`.

Inputs can be read by everybody who may see the run, so the enrolment goes sealed with a key that weft's environment and
the repository's secrets have in common. The run's name has the launch's id: by it a run is found whose start was lost.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from loominal.broker.sealing import KEY_VARIABLE, seal
from loominal.model.errors import Forbidden, InvalidArgument, StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition, Order, Seen
from loominal.model.mechanism import GithubConfig, Mechanism
from loominal.model.names import one_line, shown
from loominal.weft.mechanisms.means import Means
from loominal.weft.outbound import ENROLMENT, Outbound, Outgoing, Reply, retry_after

API_VERSION = "2022-11-28"
CALL_SECONDS = 20.0  # for one answer
TRIES = 3  # of a dispatch that GitHub could not do (5xx)
FIND_SECONDS = 30.0  # until a new run is in the list
POLL_SECONDS = 3.0  # GitHub has nothing that could be waited on
PAGES = 3  # of the newest runs of the workflow, in which one is looked for by its name
PER_PAGE = 100
INPUTS_CHARACTERS = 65_000  # of all inputs; GitHub takes 65 535
OURS = "loominal_"  # what the names of Loominal's own inputs begin with
INPUT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
HINTS = {
    401: "the bearer token has expired or is none",
    403: "the bearer token needs the permission 'Actions: write' on the repository",
    404: "no such repository or workflow, or the bearer token may not see it",
    422: "see that the ref exists and the workflow has the trigger workflow_dispatch with Loominal's inputs",
}

T = TypeVar("T")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a workflow, as far as we need it. Source: `workflow-run` of GitHub's OpenAPI description."""

    id: int
    status: str | None = None
    conclusion: str | None = None
    html_url: str = ""
    display_title: str = ""


class Runs(msgspec.Struct, frozen=True, kw_only=True):
    """A page of them, the newest first."""

    workflow_runs: list[Run]


class Dispatched(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatch answers that is asked for details."""

    workflow_run_id: int


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow."""

    name: str
    state: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What GitHub says when it refuses."""

    message: str = ""


class GithubActions:
    """Starts agents on GitHub's runners. The reference is the number of the run."""

    def __init__(self, means: Means, outbound: Outbound | None = None) -> None:
        self._means = means
        self._outbound = outbound or Outbound(private_networks=means.allow.private_networks)

    async def start(self, config: GithubConfig, order: Order) -> str:
        """Start a run and return its number; if GitHub does not tell it, once the run is in the list.

        Raises: StartFailed, Unconfirmed, Forbidden.
        """
        self._means.require(Mechanism.GITHUB_ACTIONS)
        inputs = self._inputs(config, order)
        try:
            found = await self._found(config, order.launch)
        except (Unreachable, Unconfirmed) as error:  # of the list; nothing was started
            raise StartFailed(error.message, error.hint) from error
        for _ in range(TRIES):
            if found is not None:
                return str(found.id)
            if number := await self._dispatched(config, inputs):
                return str(number)
            found = await self._awaited(config, order.launch, POLL_SECONDS)
        if found is not None:
            return str(found.id)
        raise Unconfirmed(f"GitHub could not start the workflow {config.workflow} {TRIES} times, or does not show it")

    async def look(self, config: GithubConfig, launch: str, reference: str) -> Seen:
        """Return what GitHub says of the run. Raises: Unreachable."""
        with _unreachable():
            run = await self._run(config, launch, reference)
        if run is None:
            return Seen(condition=Condition.GONE, reference=reference)
        over = run.status == "completed"
        return Seen(
            condition=Condition.ENDED if over else Condition.RUNNING,
            reference=str(run.id),
            exit_code=0 if over and run.conclusion == "success" else None,
            detail=one_line(f"{run.conclusion if over else run.status}: {run.html_url}"),
        )

    async def stop(self, config: GithubConfig, launch: str, reference: str, *, grace_seconds: float) -> None:
        """Cancel the run, and after the grace by force. Raises: Unreachable."""
        with _unreachable():
            ends = time.monotonic() + grace_seconds
            run = await self._run(config, launch, reference)
            if run is None or run.status == "completed":
                return
            await self._cancel(config, run, "cancel")
            while run is not None and run.status != "completed":
                if time.monotonic() >= ends:
                    await self._cancel(config, run, "force-cancel")
                    return
                await asyncio.sleep(min(POLL_SECONDS, ends - time.monotonic()))
                run = await self._run(config, launch, str(run.id))

    async def check(self, config: GithubConfig) -> str:
        """Return that the workflow is there and can run; none is started. Raises: StartFailed, Forbidden."""
        self._means.require(Mechanism.GITHUB_ACTIONS)
        self._inputs(config, Order(launch="check", target="check", project="", agent_type="", enrolment="none"))
        try:
            reply = await self._asked(config, "GET", f"workflows/{config.workflow}")
            workflow = _read(reply, Workflow, f"to show the workflow {config.workflow}")
        except (Unreachable, Unconfirmed) as error:
            raise StartFailed(error.message, error.hint) from error
        if workflow.state != "active":
            raise StartFailed(f"the workflow {config.workflow} is {workflow.state}", "enable it on GitHub")
        return f"the workflow {shown(workflow.name)} of {config.repo} is active"

    def _inputs(self, config: GithubConfig, order: Order) -> dict[str, str]:
        """Return the inputs of a run. Raises: StartFailed for what GitHub could not take."""
        for name in config.inputs:
            if not INPUT.fullmatch(name) or name.lower().startswith(OURS):
                raise StartFailed(f"config.inputs: {shown(name)} cannot be set", f"{OURS}… are Loominal's own")
        try:
            sealed = seal(self._means.environ.get(KEY_VARIABLE, "").strip(), order.enrolment, order.launch)
        except InvalidArgument as error:
            hint = (
                f"weft's environment and the repository's secrets need the same {KEY_VARIABLE}: openssl rand -base64 32"
            )
            raise StartFailed(error.message, hint) from error
        inputs = {
            **config.inputs,
            f"{OURS}launch": order.launch,
            f"{OURS}enrolment": sealed,
            f"{OURS}agent_type": order.agent_type,
            f"{OURS}capabilities": ",".join(order.capabilities),
        }
        if sum(len(name) + len(value) for name, value in inputs.items()) > INPUTS_CHARACTERS:
            raise StartFailed(f"the inputs have more than {INPUTS_CHARACTERS} characters", "GitHub takes no more")
        return inputs

    async def _dispatched(self, config: GithubConfig, inputs: dict[str, str]) -> int:
        """Start a run and return its number, 0 if GitHub does not tell, failed, or its answer is lost."""
        body = {"ref": config.ref, "inputs": inputs, "return_run_details": True}
        what = f"to start the workflow {config.workflow}"
        launch = inputs[f"{OURS}launch"]
        try:
            reply = await self._asked(config, "POST", f"workflows/{config.workflow}/dispatches", body)
            if reply.status >= 500:
                return 0
            if reply.status == 204:
                return await self._number(config, launch, Unconfirmed("GitHub does not show the run yet"))
            return _read(reply, Dispatched, what).workflow_run_id
        except Unreachable as error:
            raise StartFailed(error.message, error.hint) from error
        except Unconfirmed as error:
            return await self._number(config, launch, error)

    async def _number(self, config: GithubConfig, launch: str, otherwise: Unconfirmed) -> int:
        """Return the number of the run that was asked for. Raises: `otherwise` if the list does not come to have it."""
        run = await self._awaited(config, launch, FIND_SECONDS)
        if run is None:
            raise otherwise
        return run.id

    async def _awaited(self, config: GithubConfig, launch: str, seconds: float) -> Run | None:
        """Return the run of `launch` as soon as it is in the list, None if it is not within `seconds`."""
        ends = time.monotonic() + seconds
        while True:
            try:
                if (run := await self._found(config, launch)) is not None:
                    return run
            except (Unreachable, Unconfirmed, StartFailed) as error:
                if time.monotonic() >= ends:
                    raise Unconfirmed(error.message, error.hint) from error
            if time.monotonic() >= ends:
                return None
            await asyncio.sleep(min(POLL_SECONDS, max(0.0, ends - time.monotonic())))

    async def _run(self, config: GithubConfig, launch: str, reference: str) -> Run | None:
        """Return the run of that number, or of that launch if it is not known."""
        if not reference.isdecimal():
            return await self._found(config, launch)
        reply = await self._asked(config, "GET", f"runs/{reference}")
        if reply.status == 404:
            return None
        return _read(reply, Run, f"to show the run {reference}")

    async def _found(self, config: GithubConfig, launch: str) -> Run | None:
        """Return the run with the launch's id in its name: never just the newest."""
        named = re.compile(rf"(?<![\w-]){re.escape(launch)}(?![\w-])")
        for page in range(1, PAGES + 1):
            query = f"event=workflow_dispatch&per_page={PER_PAGE}&page={page}"
            reply = await self._asked(config, "GET", f"workflows/{config.workflow}/runs?{query}")
            runs = _read(reply, Runs, f"to list the runs of {config.workflow}").workflow_runs
            for run in reversed(runs):  # the first of them, should there be more than one
                if named.search(run.display_title):
                    return run
            if len(runs) < PER_PAGE:
                return None
        return None

    async def _cancel(self, config: GithubConfig, run: Run, how: str) -> None:
        reply = await self._asked(config, "POST", f"runs/{run.id}/{how}")
        if reply.status not in (202, 404, 409):  # 409: it has just ended
            raise _refused(reply, f"to cancel the run {run.id}")

    async def _asked(self, config: GithubConfig, method: str, path: str, body: object = None) -> Reply:
        """Return what GitHub answers. Raises: Unreachable, Unconfirmed, Forbidden; StartFailed for a bad target."""
        return await self._outbound.send(self._request(config, method, path, body), timeout_seconds=CALL_SECONDS)

    def _request(self, config: GithubConfig, method: str, path: str, body: object) -> Outgoing:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token(config)}",
            "X-GitHub-Api-Version": API_VERSION,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if config.repo.partition("/")[2] in (".", ".."):
            raise StartFailed(f"config.repo: {shown(config.repo)} is none", "it is owner/name")
        url = f"{config.api_url.rstrip('/')}/repos/{config.repo}/actions/{path}"
        sent = b"" if body is None else msgspec.json.encode(body)
        return Outgoing(method=method, url=url, headers=headers, body=sent)

    def _token(self, config: GithubConfig) -> str:
        """Return the bearer token. Raises: Forbidden for a host that it may not be sent to, StartFailed without one."""
        parts = urlsplit(config.api_url)
        allowed = [host.lower() for host in self._means.allow.hosts.get(config.token_env, ())]
        if (parts.hostname or "") not in allowed and parts.netloc.lower() not in allowed:
            raise Forbidden(
                f"the bearer token {config.token_env} may not be sent to {shown(parts.netloc)}",
                f'its owner can: [allow] hosts = {{ {config.token_env} = ["{parts.hostname}"] }} in weft.toml',
            )
        if token := self._means.environ.get(config.token_env, "").strip():
            return token
        raise StartFailed(
            f"the variable {config.token_env} is not set", "weft's environment needs GitHub's bearer token"
        )


@contextmanager
def _unreachable() -> Iterator[None]:
    """Whatever goes wrong inside, nothing is known of what was started: Unreachable."""
    try:
        yield
    except (StartFailed, Forbidden, Unconfirmed) as error:
        raise Unreachable(error.message, error.hint) from error


def _read(reply: Reply, kind: type[T], what: str) -> T:
    """Return what an answer holds. Raises: StartFailed for a refusal; Unconfirmed if it is cut or something else."""
    if reply.status != 200:
        raise _refused(reply, what)
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unconfirmed(f"GitHub's answer cannot be read: {one_line(str(error))}") from error


def _refused(reply: Reply, what: str) -> StartFailed:
    """Return what a refusal says, and what can be done about it."""
    try:
        said = ENROLMENT.sub("…", msgspec.json.decode(reply.body, type=Refusal).message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = reply.text
    wait = _wait(reply)
    hint = f"GitHub asks to wait {wait:g} s" if wait else HINTS.get(reply.status, "try again later")
    message = f"GitHub refused {what} with {reply.status}: {one_line(said, 300)}"
    return StartFailed(message, hint, retry_after_seconds=wait)


def _wait(reply: Reply) -> float:
    """Return how many seconds GitHub asks to wait, 0 if it does not.

    Source: "Rate limits for the REST API": `retry-after`, else `x-ratelimit-reset` when nothing remains.
    """
    now = time.time()
    if reply.status not in (403, 429):
        return 0.0
    if wait := retry_after(reply, now):
        return wait
    reset = reply.headers.get("x-ratelimit-reset", "")
    if reply.headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit():
        return max(1.0, round(int(reset[:12]) - now))
    return 60.0 if reply.status == 429 else 0.0
