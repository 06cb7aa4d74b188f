"""What weft writes into its log over a whole run: objects that say what they are about, and no secret of anybody's."""

from __future__ import annotations

import json
import re
from pathlib import Path

from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.runtime_file import Mode, machine_credential_path
from tests.integration.conftest import NatsServer, eventually
from tests.integration.fabric import Fabric, Json
from tests.integration.http_api import open_api
from tests.patience import SOON

SEED = re.compile(r"\bS[ACNOUX][A-Z2-7]{56}\b")  # of any nkey
JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.")
DEBUG_JSON = {"LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"}


def lines_of(path: Path) -> list[Json]:
    """Return the objects in a log; each line must be one."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_run_under_our_keys_logs_what_lines_are_about_and_no_secret(private_fabric: Fabric) -> None:
    private_fabric.weft_environment = DEBUG_JSON
    private_fabric.start()
    async with (
        private_fabric.connect("ann", project="p", capabilities=["python"]) as ann,
        private_fabric.connect("boss", project="p", agent_type="person", operator=True, client="boss") as boss,
        open_api(private_fabric.home) as api,
        open_api(private_fabric.home, "lmn_wrong") as wrong,
    ):
        offered = await boss.broadcast_work_offer("x", capabilities=["python"])
        invited = await boss.invite(KeyPair.generate(Kind.USER).public)
        await ann.claim_work(wait_seconds=SOON)
        with private_fabric.spawn("bob", project="p", capabilities=["python"], max_concurrent=2) as bob:
            await bob.ready()
            taken = await boss.broadcast_work_offer("y", capabilities=["python"], assign_to="bob")
            await bob.call("claim_work", wait_seconds=SOON)
            bob.kill()
        assert (await api.client.get("/api/work", params={"token": "lmn_in_a_query"})).status_code == 422
        assert (
            await wrong.client.get("/api/work", headers={"X-Request-Id": "mine-1", "Host": "evil"})
        ).status_code == 421

        def told() -> bool:
            lapses = [each for each in lines_of(private_fabric.weft_log) if each.get("work") == taken.id]
            return any("lapse" in each["message"] for each in lapses)

        await eventually(told, SOON)

    text = private_fabric.weft_log.read_text()
    lines = lines_of(private_fabric.weft_log)
    assert any(each.get("requestId") == "mine-1" for each in lines)
    assert {"p"} == {each["project"] for each in lines if "project" in each}
    secrets = [(private_fabric.home / "api.token").read_text().strip(), invited.jwt, "lmn_wrong", "lmn_in_a_query"]
    secrets += machine_credential_path(private_fabric.home).read_text().split("\n")[1:2]
    assert [each for each in secrets if each in text] == []
    assert SEED.findall(text) == JWT.findall(text) == []
    assert offered.id


async def test_a_password_in_the_brokers_url_is_in_no_line(private_server: NatsServer, private_fabric: Fabric) -> None:
    private_server.extra = 'authorization { user: "ada", password: "pa55-word" }'
    private_server.start()
    url = private_server.url.replace("//", "//ada:pa55-word@")
    private_fabric.weft_environment = {**DEBUG_JSON, "NATS_URL": url, "LOOMINAL_MODE": Mode.OPEN}
    private_fabric.start_weft()
    async with private_fabric.connect("ann", project="p", capabilities=["python"]) as ann:
        await ann.broadcast_work_offer("x", capabilities=["cobol"])
        private_server.kill()
        await eventually(lambda: "Connect" in private_fabric.weft_log.read_text(), SOON)
        private_server.start()
        await ann.get_stats()

    lines = lines_of(private_fabric.weft_log)
    assert any("open mode" in each["message"] for each in lines)
    assert "pa55-word" not in private_fabric.weft_log.read_text()
