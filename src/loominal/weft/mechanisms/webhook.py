"""`webhook`: whoever answers at an address starts the agents; weft asks with a signed request.

The enrolment goes in the body. A request that may have been taken is never sent again; one that was certainly refused
is, with the same `Idempotency-Key`, as long as its time allows.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

import msgspec

from loominal.model.agent import JsonObject
from loominal.model.errors import StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition, Order, Seen
from loominal.model.mechanism import PLACEHOLDER, Mechanism, WebhookConfig
from loominal.weft.mechanisms.means import Means
from loominal.weft.outbound import Outbound, Outgoing, Reply, retry_after

SIGNATURE_HEADER = "X-Loominal-Signature"  # "sha256=" and the HMAC of "<timestamp>.<body>" in hex
TIMESTAMP_HEADER = "X-Loominal-Timestamp"  # Unix seconds
KEY_HEADER = "Idempotency-Key"  # the launch's id
REFUSALS = frozenset({429, 503})  # nothing was started, and a later request may be taken
RETRY_SECONDS = 1.0  # before the next try, if the answer does not say
BODY: JsonObject = {  # of a target that gives none
    "launchId": "{launchId}",
    "targetName": "{targetName}",
    "agentType": "{agentType}",
    "workId": "{workId}",
    "capabilities": "{capabilities}",
    "enrolment": "{enrolment}",
}


class Webhook:
    """Starts agents by a request. The reference is the launch's id: whoever starts them has given nothing to ask by."""

    def __init__(self, means: Means, outbound: Outbound | None = None) -> None:
        self._means = means
        self._outbound = outbound or Outbound(private_networks=means.allow.private_networks)

    async def start(self, config: WebhookConfig, order: Order) -> str:
        """Ask for the agent and return the launch's id once the request was taken.

        Raises: StartFailed, Unconfirmed if the answer was lost or says too little, Forbidden.
        """
        self._means.require(Mechanism.WEBHOOK)
        secret = self._secret(config)
        body = msgspec.json.encode(filled(config.body or BODY, order))
        ends = time.monotonic() + config.timeout_seconds
        while True:
            left = ends - time.monotonic()
            wait = RETRY_SECONDS
            try:
                reply = await self._outbound.send(_request(config, order, body, secret), timeout_seconds=left)
            except Unreachable as error:
                failed = StartFailed(error.message, error.hint)
            else:
                if reply.status in config.success_codes:
                    return order.launch
                failed = _refused(config, reply)
                wait = max(failed.retry_after_seconds, RETRY_SECONDS)
                if reply.status not in REFUSALS:
                    raise failed
            if time.monotonic() + wait >= ends:
                raise failed
            await asyncio.sleep(wait)

    async def look(self, config: WebhookConfig, launch: str, reference: str) -> Seen:
        """Return that it runs: nothing is known until its agent registers, or does not in time."""
        return Seen(
            condition=Condition.RUNNING,
            reference=reference,
            detail="a webhook cannot be asked what it has started: its agent registers, or does not in time",
        )

    async def stop(self, config: WebhookConfig, launch: str, reference: str, *, grace_seconds: float) -> None:
        """Do nothing: the agent ends as it is told by the fabric, or by who started it."""

    async def check(self, config: WebhookConfig) -> str:
        """Return that the address can be connected to; nothing is sent. Raises: StartFailed, Forbidden."""
        self._means.require(Mechanism.WEBHOOK)
        self._secret(config)
        try:
            address = await self._outbound.reach(config.url, timeout_seconds=config.timeout_seconds)
        except Unreachable as error:
            raise StartFailed(error.message, error.hint) from error
        return f"a connection was made to {address}; the request itself is not tried"

    def _secret(self, config: WebhookConfig) -> str:
        """Return what requests are signed with, "" if they are not. Raises: Forbidden, StartFailed."""
        if not config.secret_env:
            return ""
        if secret := self._means.variable(config.secret_env):
            return secret
        raise StartFailed(f"the variable {config.secret_env} is not set", "weft signs its requests with it")


def filled(body: JsonObject, order: Order) -> JsonObject:
    """Return `body` with what the braces in its texts name; what is put in is never looked into again."""
    words = {
        "launchId": order.launch,
        "targetName": order.target,
        "agentType": order.agent_type,
        "workId": order.work,
        "capabilities": ",".join(order.capabilities),
        "enrolment": order.enrolment,
    }

    def fill(value: object) -> object:
        match value:
            case str():
                return PLACEHOLDER.sub(lambda found: words[found[1]], value)
            case dict():
                return {key: fill(each) for key, each in value.items()}
            case list():
                return [fill(each) for each in value]
        return value

    return {key: fill(each) for key, each in body.items()}


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of the signature header."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _request(config: WebhookConfig, order: Order, body: bytes, secret: str) -> Outgoing:
    now = str(int(time.time()))
    own = {"Content-Type": "application/json", KEY_HEADER: order.launch, TIMESTAMP_HEADER: now}
    if secret:
        own[SIGNATURE_HEADER] = signature(secret, now, body)
    taken = {name.lower() for name in own} | {SIGNATURE_HEADER.lower()}
    theirs = {name: value for name, value in config.headers.items() if name.lower() not in taken}
    return Outgoing(method=config.method, url=config.url, headers={**theirs, **own}, body=body)


def _refused(config: WebhookConfig, reply: Reply) -> StartFailed:
    """Return why nothing was started. Raises: Unconfirmed if something may have been."""
    what = f"the webhook answered {reply.status}: {reply.text}"
    wait = retry_after(reply, time.time())
    if reply.status in REFUSALS:
        return StartFailed(what, f"it asks to wait {wait:g} s" if wait else "try again later", retry_after_seconds=wait)
    if reply.status < 300 or reply.status >= 500:
        raise Unconfirmed(what, f"it has to answer one of {', '.join(map(str, config.success_codes))}")
    if reply.status < 400:
        return StartFailed(what, "redirects are not followed: give the address that answers")
    return StartFailed(what, "its own log tells why it refused")
