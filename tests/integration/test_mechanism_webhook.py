"""`webhook` against a receiver that judges requests as its documentation tells it to."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal.model.errors import Forbidden, StartFailed, Unconfirmed
from loominal.model.launch import Condition, Order
from loominal.model.mechanism import Config, Mechanism, WebhookConfig
from loominal.weft.mechanisms.means import Means
from loominal.weft.mechanisms.webhook import Webhook
from loominal.weft.weft_file import Allow
from tests.http_stand_in import Answered, Asked, StandIn, standing_in
from tests.mechanism_conformance import Got, StartsAgents, an_order
from tests.patience import SOON

SECRET = "a secret of both sides"


class Receiver:
    """Starts agents for requests that are signed, each launch once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.agents: dict[str, list[Got]] = {}
        self.answers: list[Answered] = []  # what comes instead, first
        self.stand_in: StandIn

    async def __call__(self, asked: Asked) -> Answered:
        if self.answers:
            return self.answers.pop(0)
        stamp = asked.headers["x-loominal-timestamp"]
        signed = hmac.new(SECRET.encode(), stamp.encode() + b"." + asked.body, hashlib.sha256).hexdigest()
        if asked.headers["x-loominal-signature"] != f"sha256={signed}" or abs(time.time() - int(stamp)) > 60:
            return Answered(status=401, body=b"whose signature is that")
        got = Got(launch=asked.json["launchId"], enrolment=asked.json["enrolment"])
        if asked.headers["idempotency-key"] not in self.agents:
            self.agents[asked.headers["idempotency-key"]] = [got]
        return Answered(status=202)

    def driver(self, **changes: object) -> Webhook:
        allow = {"mechanisms": (Mechanism.WEBHOOK,), "env": ("HOOK_SECRET", "UNSET"), "private_networks": True}
        environ = {"HOOK_SECRET": SECRET, "OTHER": "secret"}
        means = Means(allow=Allow(**{**allow, **changes}), home=self.home, environ=environ)  # type: ignore[arg-type]  # by name
        return Webhook(means)

    def config(self, **changes: object) -> WebhookConfig:
        given = {"url": f"http://127.0.0.1:{self.stand_in.port}/start", "secret_env": "HOOK_SECRET", **changes}
        return WebhookConfig(**given)  # type: ignore[arg-type]  # by name

    def broken(self) -> tuple[Config, str]:
        return self.config(secret_env="UNSET"), "UNSET is not set"

    def forbidden(self) -> tuple[Webhook, Config]:
        return self.driver(mechanisms=(Mechanism.LOCAL,)), self.config()

    def started(self, launch: str) -> list[Got]:
        return self.agents.get(launch, [])


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Receiver]:
    receiver = Receiver(tmp_path)
    async with standing_in(receiver) as receiver.stand_in:
        yield receiver


class TestWebhook(StartsAgents):
    """As every mechanism."""


async def test_values_arrive_as_they_are_and_what_they_bring_along_is_not_filled_again(place: Receiver) -> None:
    hostile = 'quote " backslash \\1 \\g<0> $& $1 ${x} {enrolment} {launchId} }{ \n \u2028 é'
    order = Order(
        launch="l_1",
        target="t",
        project="p",
        agent_type=hostile,
        capabilities=(hostile, "b"),
        work="w_1",
        enrolment="e",
    )
    body = {
        "launchId": "{launchId}",
        "enrolment": "{enrolment}",
        "text": "<{agentType}|{workId}> $& {unknown} {",
        "deep": [{"{launchId}": ["{capabilities}", 7, None, True, 1.5]}],
    }

    await place.driver().start(place.config(body=body), order)

    assert place.stand_in.asked[0].json == {
        "launchId": "l_1",
        "enrolment": "e",
        "text": f"<{hostile}|w_1> $& {{unknown}} {{",
        "deep": [{"{launchId}": [f"{hostile},b", 7, None, True, 1.5]}],
    }


async def test_a_target_sets_headers_but_none_of_ours(place: Receiver) -> None:
    headers = {"X-Team": "a", "idempotency-key": "theirs", "x-loominal-signature": "theirs", "accept-encoding": "br"}
    order = an_order()

    await place.driver().start(place.config(headers=headers), order)

    [asked] = place.stand_in.asked
    assert (asked.headers["x-team"], asked.headers["idempotency-key"]) == ("a", order.launch)
    assert asked.headers["accept-encoding"] == "identity"


async def test_a_certain_refusal_is_repeated_with_the_same_key_as_long_as_there_is_time(place: Receiver) -> None:
    place.answers = [Answered(status=503), Answered(status=429, headers={"Retry-After": "1"})]
    order = an_order()

    await place.driver().start(place.config(), order)

    assert [asked.headers["idempotency-key"] for asked in place.stand_in.asked] == [order.launch] * 3
    assert len({asked.body for asked in place.stand_in.asked}) == 1
    assert len(place.started(order.launch)) == 1


async def test_a_refusal_that_lasts_longer_than_there_is_time_says_how_long(place: Receiver) -> None:
    place.answers = [Answered(status=429, headers={"Retry-After": "3600"}, body=b"too many")]

    with pytest.raises(StartFailed, match="answered 429: too many") as caught:
        await place.driver().start(place.config(timeout_seconds=30), an_order())

    assert caught.value.retry_after_seconds == 3600


@pytest.mark.parametrize(
    "answer", [Answered(cut=True), Answered(status=500), Answered(status=504), Answered(status=204)]
)
async def test_what_may_have_been_taken_is_not_sent_again(place: Receiver, answer: Answered) -> None:
    place.answers = [answer]

    with pytest.raises(Unconfirmed):
        await place.driver().start(place.config(), an_order())

    assert len(place.stand_in.asked) == 1


@pytest.mark.parametrize(("status", "hint"), [(307, "redirects are not followed"), (404, "its own log"), (401, "log")])
async def test_a_refusal_for_good_is_not_repeated(place: Receiver, status: int, hint: str) -> None:
    order = an_order()
    echo = f"no such {order.enrolment[:100]}".encode()
    place.answers = [Answered(status=status, headers={"Location": "/elsewhere"}, body=order.enrolment.encode() + echo)]

    with pytest.raises(StartFailed, match=f"answered {status}") as caught:
        await place.driver().start(place.config(), order)

    assert hint in caught.value.hint
    assert order.enrolment[:40] not in caught.value.message
    assert len(place.stand_in.asked) == 1


async def test_any_code_that_the_target_names_is_a_success(place: Receiver) -> None:
    place.answers = [Answered(status=204)]

    assert await place.driver().start(place.config(success_codes=(204,)), an_order())


async def test_a_secret_that_targets_may_not_use_signs_nothing(place: Receiver) -> None:
    with pytest.raises(Forbidden, match="OTHER"):
        await place.driver().start(place.config(secret_env="OTHER"), an_order())

    assert place.stand_in.asked == []


async def test_this_machine_is_not_asked_unless_the_owner_allows_it(place: Receiver) -> None:
    driver = place.driver(private_networks=False)

    for url in (f"https://127.0.0.1:{place.stand_in.port}", f"https://localhost:{place.stand_in.port}", "http://x.com"):
        with pytest.raises(Forbidden):
            await driver.start(place.config(url=url), an_order())
        with pytest.raises(Forbidden):
            await driver.check(place.config(url=url))
    assert place.stand_in.asked == []


async def test_nobody_listening_is_a_failure_after_its_time(place: Receiver) -> None:
    async with standing_in(place) as gone:
        port = gone.port
    config = place.config(url=f"http://127.0.0.1:{port}", timeout_seconds=1)

    async with asyncio.timeout(SOON):
        with pytest.raises(StartFailed, match="cannot be reached"):
            await place.driver().start(config, an_order())
    with pytest.raises(StartFailed, match="cannot be reached"):
        await place.driver().check(config)


async def test_what_was_asked_for_counts_as_running_until_its_agent_comes(place: Receiver) -> None:
    order = an_order()
    reference = await place.driver().start(place.config(), order)

    assert (await place.driver().look(place.config(), order.launch, reference)).condition is Condition.RUNNING
    await place.driver().stop(place.config(), order.launch, reference, grace_seconds=1)
