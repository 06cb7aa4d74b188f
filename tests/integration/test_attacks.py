"""What an agent with real credentials and a program of its own cannot do: be another, take what is not its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.broker.credentials import Credential
from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.client.agent import Agent
from loominal.fabric.protocol import PROTO, Beat, encode
from loominal.model.grant import Role
from loominal.model.names import OWN_TOKEN, api_caller
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import (
    Intruder,
    Json,
    as_hub,
    enrol,
    enrolment,
    intrude,
    log_since,
    own_machine,
    stored,
    stranger,
)
from tests.integration.visitor import is_refused, visit
from tests.patience import SOON


@pytest.fixture
async def victim(fabric: Fabric, project_id: str) -> AsyncIterator[Agent]:
    """An agent of the fabric's own user, with our client."""
    async with fabric.connect("victim", project=project_id, capabilities=["python"]) as agent:
        yield agent


@pytest.fixture
async def intruder(fabric: Fabric, project_id: str, victim: Agent) -> AsyncIterator[Intruder]:
    """An agent of another user who has a grant for the project."""
    machine = await stranger(fabric, "mallory", project_id)
    async with intrude(fabric, project_id, machine=machine) as intruder:
        await intruder.register("python", handle="mallory")
        yield intruder


async def test_an_agent_publishes_and_hears_nothing_but_its_own(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    p, other, before = project_id, "another-project", await stored(fabric, project_id)
    publish = [
        *(
            f"rq.{p}.{operation}.{victim.guid}"
            for operation in ("send_message", "claim_work", "complete_work", "hello")
        ),
        *(f"rq.{name}.send_message.{intruder.guid}" for name in (other, "enrol")),
        *(f"rq.{p}.set_policy.{api_caller(role, OWN_TOKEN)}" for role in Role),
        *(f"xp.{other}.see", f"xp.{p}.tell", f"xn.{other}", "wf.weft", f"ct.{p}"),
        *(f"hb.{p}.{victim.guid}", f"hb.{other}.{intruder.guid}", f"ctl.{p}.{victim.guid}", f"ctl.{p}.{intruder.guid}"),
        *(f"l.{p}.{where}" for where in ("ch.general", f"in.{victim.guid}", "wk.w_1", "spec.w_1", "wk-lead", "fence")),
        *(f"ev.{p}.{where}" for where in ("ch.general", f"in.{victim.guid}", "lead")),
        *(f"_IB.{name}.x" for name in (victim.guid, "weft", intruder.guid)),
        *(f"$KV.REG_{p}.{key}" for key in ("policy", f"agent.{victim.guid}", "handle.victim", f"in.{victim.guid}")),
        *(
            f"$JS.API.STREAM.{verb}.{kind}_{p}"
            for verb in ("CREATE", "UPDATE", "PURGE", "DELETE")
            for kind in ("WK", "IN")
        ),
        *(f"$JS.API.STREAM.MSG.{verb}.IN_{p}" for verb in ("GET", "DELETE")),
        *(f"$JS.API.DIRECT.GET.IN_{p}", f"$JS.API.DIRECT.GET.IN_{p}.l.{p}.in.{victim.guid}"),
        *(f"$JS.API.CONSUMER.CREATE.IN_{p}", f"$JS.API.CONSUMER.CREATE.IN_{p}.c.l.{p}.in.{victim.guid}"),
        *(f"$JS.API.CONSUMER.MSG.NEXT.IN_{p}.c", "$JS.API.STREAM.NAMES", "$JS.API.INFO", f"$JS.ACK.IN_{p}.c.1.1.1.1.1"),
        *("$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING.JSZ", "rq.enrol.test-machine", f"rq.enrol.{intruder.guid}"),
    ]
    subscribe = [
        *(">", "*", "_IB.>", "_IB.*.>", f"_IB.{victim.guid}.>", f"_IB.{victim.guid}.*", "_IB.weft.>", "rq.>", "hb.>"),
        *(f"rq.{p}.*.{intruder.guid}", f"rq.{p}.*.*", f"hb.{p}.*", f"l.{p}.>", f"l.{p}.in.{victim.guid}", "l.>"),
        *(f"ev.{p}.>", f"ev.{p}.in.*", f"ev.{p}.in.{victim.guid}", f"ctl.{p}.{victim.guid}", f"ctl.{p}.*", "ctl.>"),
        *(f"ev.{other}.ch.*", f"ev.{other}.lead", "$JS.>", "$KV.>", "$SYS.>", "$SYS.ACCOUNT.>", f"$KV.REG_{p}.>"),
    ]

    denied = await intruder.denied(publish, subscribe)

    assert set(publish + subscribe) - set(denied) == set()
    assert await stored(fabric, project_id) == before


async def test_a_request_is_answered_to_its_asker_or_not_at_all(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    p, me = project_id, intruder.guid
    foreign = [
        *(f"_IB.{victim.guid}.x", "_IB.weft.x", f"_IB.{me}", f"_IB.{me}x.y", "_IB", f"x._IB.{me}.y", f"_ib.{me}.x", ""),
        *(f"l.{p}.in.{victim.guid}", f"l.{p}.ch.general", f"l.{p}.wk.w_1", f"l.{p}.wk-lead", f"ctl.{p}.{victim.guid}"),
        *(f"rq.{p}.send_message.{victim.guid}", f"rq.{p}.deregister_agent.{victim.guid}", f"hb.{p}.{victim.guid}"),
        *(f"$KV.REG_{p}.policy", f"$KV.REG_{p}.handle.victim", f"$JS.API.STREAM.PURGE.WK_{p}", "$JS.API.STREAM.NAMES"),
        *(
            f"_IB.{me}.*",
            f"_IB.{me}.>",
            f"_IB.{me}.*.x",
            f"_IB.*.{victim.guid}",
            f"ev.{p}.lead",
            "rq.enrol.test-machine",
        ),
    ]
    before = await stored(fabric, project_id)
    async with as_hub(fabric, project_id) as spy:
        heard: list[Received] = []
        await spy.subscribe(">", heard.append)
        for number, reply in enumerate(foreign):
            args = {"channel": "general", "message": "injected"}
            asked = {"proto": PROTO, "op": f"op-{number}", "incarnation": intruder.incarnation, "args": args}
            await intruder.publish(
                intruder.subject("send_message").encode(), json.dumps(asked).encode(), reply=reply.encode()
            )
        assert "ok" in await intruder.ask("get_my_handle")  # answered behind all of them
        answered = {message.subject for message in heard}

    assert not answered & set(foreign)
    assert await stored(fabric, project_id) == before
    assert (await victim.read_messages("general")).messages == ()


async def test_no_bytes_of_a_request_silence_the_hub(fabric: Fabric, intruder: Intruder, victim: Agent) -> None:
    me, good = intruder.guid.encode(), intruder.subject("get_my_handle").encode()
    began = fabric.weft_log.stat().st_size
    request = json.dumps({"proto": PROTO, "op": "x", "incarnation": intruder.incarnation}).encode()
    odd = [b"\xff", b"a\x0bb", b"a\x0cb", b"\x1b[31m", b"\x00", b"\x85", b"\xc2\xa0", "ü".encode(), b"a" * 3000, b"%s"]
    for token in odd:
        await intruder.publish(b"rq.%s.%s.%s" % (intruder.project.encode(), token, me), request, b"_IB.%s.x" % me)
        await intruder.publish(good, request, b"_IB.%s.%s" % (me, token))
    for reply in (b"_IB.%s." % me, b"_IB.%s..x" % me, b"_IB.%s.x..y" % me, b"_IB.%s...." % me):
        await intruder.publish(good, request, reply)
    for headers in (
        *(
            b"x",
            b"\r\n",
            b"NATS/1.0",
            b"NATS/1.0\r\n\r\n",
            b"NATS/1.0\r\na: \xff\r\n\r\n",
            b"NATS/1.0 \xff\xff\xff\r\n\r\n",
        ),
        *(
            b"NATS/1.0\r\n: \r\n\r\n",
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0\r\nStatus: 503\r\n\r\n",
            b"\xff" * 50,
            b"NATS/1.0\r\n\x00",
        ),
    ):
        await intruder.publish(good, request, b"_IB.%s.x" % me, headers)

    async with asyncio.timeout(SOON):
        assert "ok" in await intruder.ask("get_my_handle")
        await victim.get_my_handle()
    told = log_since(fabric, began)
    assert "connection lost" not in told
    assert "Traceback" not in told
    assert not any(char in told for char in "\x1b\x0b\x0c\x00\x85")


async def test_complaints_about_one_agent_do_not_fill_the_log(fabric: Fabric, intruder: Intruder) -> None:
    began = fabric.weft_log.stat().st_size
    for _ in range(5000):
        await intruder.publish(intruder.subject("hello").encode(), b"{}", reply=b"_IB.weft.x")
        await intruder.publish(subjects.heartbeat(intruder.project, intruder.guid).encode(), b"{")

    assert "ok" in await intruder.ask("get_my_handle", seconds=30)
    assert fabric.weft_log.stat().st_size - began < 200_000


async def test_a_heartbeat_says_nothing_of_anothers_claims(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    offered = await victim.broadcast_work_offer("mine", capabilities=["python"], assign_to=victim.guid)
    [claimed] = (await victim.claim_work()).work
    began = fabric.weft_log.stat().st_size
    token = claimed.lease_token
    for holds in (((offered.id, token),), ((offered.id, 2**62),) * 1000, (("w_x", 1),) * 1000, (("\n", 1),)):
        beat = Beat(proto=PROTO, incarnation=intruder.incarnation, holds=holds, active=("x",) * 1000)
        await intruder.client.publish(subjects.heartbeat(project_id, intruder.guid), encode(beat))
    for raw in (
        *(b"", b"{", b"\xff", b"[]", b"null", b'{"proto":1}', b"[" * 20_000, b'{"proto":1,"incarnation":"\\n"}'),
        b'{"proto":1,"incarnation":"%s","holds":[["w",%s]]}' % (intruder.incarnation.encode(), b"9" * 40),
        b'{"proto":1,"incarnation":"%s","holds":[["w",-1]]}' % intruder.incarnation.encode(),
        b'{"proto":1,"incarnation":"%s","holds":[%s]}'
        % (intruder.incarnation.encode(), b",".join([b'["w",1]'] * 9999)),
    ):
        await intruder.client.publish(subjects.heartbeat(project_id, intruder.guid), raw)

    assert "ok" in await intruder.ask("get_my_handle")
    assert "Traceback" not in log_since(fabric, began)
    assert (await victim.complete_work(offered.id, summary="done")).status == "done"


async def test_a_guessed_lease_token_ends_nothing_and_keeps_nothing(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    offered = await victim.broadcast_work_offer("mine", capabilities=["python"], assign_to=victim.guid)
    [claimed] = (await victim.claim_work()).work
    before = await stored(fabric, project_id)
    for token in (claimed.lease_token, claimed.lease_token + 1, 0, 1, 2**63 - 1):
        for operation, args in (
            ("complete_work", {"summary": "stolen"}),
            ("fail_work", {"error": "stolen", "retryable": False}),
            ("release_work", {}),
            ("report_progress", {"percent": 99}),
        ):
            assert await intruder.code(operation, {"workId": offered.id, **args}, leaseToken=token) == "not_owner"
    for operation in ("cancel_work", "retry_dead_letter_item", "discard_dead_letter_item"):
        key = "workId" if operation == "cancel_work" else "itemId"
        assert await intruder.code(operation, {key: offered.id}) in ("not_owner", "illegal_move", "not_found")

    assert await stored(fabric, project_id) == before
    assert (await victim.get_work(offered.id)).claimed_by == "victim"


async def test_an_earlier_holder_who_guesses_the_present_lease_token_is_refused(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    offered = await victim.broadcast_work_offer("shared", capabilities=["python"], max_attempts=9)
    answer = await intruder.ask("claim_work", {"waitSeconds": 20}, seconds=30)
    [first] = answer["ok"]["work"]
    assert first["id"] == offered.id
    handed_back = await intruder.ask("release_work", {"workId": offered.id}, leaseToken=first["leaseToken"])
    assert handed_back["ok"]["status"] == "ready"
    [again] = (await victim.claim_work(wait_seconds=SOON)).work

    before = await stored(fabric, project_id)
    for token in (again.lease_token, again.lease_token + 1, again.lease_token - 1, 1, 2**63 - 1):
        asked = {"workId": offered.id, "summary": "stolen"}
        assert await intruder.code("complete_work", asked, leaseToken=token) in ("lease_lost", "not_owner")
    assert await stored(fabric, project_id) == before

    assert (await victim.complete_work(offered.id, summary="done")).status == "done"
    assert (await victim.get_work(offered.id)).summary == "done"


async def test_a_process_that_was_replaced_claims_reads_and_sends_no_more(
    fabric: Fabric, project_id: str, intruder: Intruder, victim: Agent
) -> None:
    old = intruder.incarnation
    await victim.send_direct_message("mallory", "for the one that lives")
    intruder.incarnation = uuid4().hex
    assert "ok" in await intruder.ask("hello")
    before = await stored(fabric, project_id)
    for operation, args in (
        ("claim_work", {}),
        ("read_direct_messages", {}),
        ("read_messages", {"channel": "general"}),
        ("send_message", {"channel": "general", "message": "late"}),
        ("send_direct_message", {"recipientGuid": victim.guid, "message": "late"}),
        ("broadcast_work_offer", {"description": "late"}),
        ("wait_for_events", {}),
        ("join", {}),
        ("set_handle", {"handle": "late"}),
        ("deregister_agent", {}),
    ):
        assert await intruder.code(operation, args, incarnation=old) == "forbidden", operation

    assert await stored(fabric, project_id) == before


async def test_enrolment_takes_no_name_that_could_be_a_subject(fabric: Fabric, project_id: str, victim: Agent) -> None:
    machine, key = own_machine(fabric), KeyPair.generate(Kind.USER)
    before = await stored(fabric, project_id)
    names = [
        "*",
        ">",
        "a.b",
        "a b",
        "",
        " ",
        "\n",
        "_IB",
        victim.guid.upper(),
        "../x",
        "ü",
        "x" * 65,
        "{{name()}}",
        "weft",
    ]
    for name in names:
        asked = {"proto": PROTO, "agent": name, "key": key.public, "project": project_id}
        assert (await enrol(fabric, machine, json.dumps(asked).encode()))["error"]["code"] == "invalid_argument"
    for name in [*names, "_fabric", "A", "-", "a_b", "$SYS", "x" * 64]:
        asked = {"proto": PROTO, "agent": str(uuid4()), "key": key.public, "project": name}
        if name == "weft":
            continue  # as good a project as any
        assert (await enrol(fabric, machine, json.dumps(asked).encode()))["error"]["code"] == "invalid_argument", name
    good = json.loads(enrolment(project_id, key))
    wrong: list[tuple[str, Json]] = [
        ("key", KeyPair.generate(Kind.ACCOUNT).public),
        *(("key", key_text) for key_text in ("", "U", "x" * 100_000, key.public[:-1] + "!", None, 5)),
        *(("title", title) for title in ("x" * 5000, None, 5)),
        ("role", "king"),
        ("proto", "1"),
    ]
    for field, value in wrong:
        refused = await enrol(fabric, machine, json.dumps(good | {field: value}).encode())
        assert refused["error"]["code"] in ("invalid_argument", "too_large"), (field, refused)
    for raw in (b"", b"{", b"\xff", b"null", b"[" * 50_000, b'"x"', b"{}"):
        assert (await enrol(fabric, machine, raw))["error"]["code"] == "invalid_argument"

    assert await stored(fabric, project_id) == before


async def test_an_agent_id_is_bound_to_key_project_and_user(fabric: Fabric, project_id: str, victim: Agent) -> None:
    machine, theirs = own_machine(fabric), await stranger(fabric, "mallory", project_id)
    key = KeyPair.generate(Kind.USER)
    asked = enrolment(project_id, key)
    agent = json.loads(asked)["agent"]
    assert "ok" in await enrol(fabric, machine, asked)
    before = await stored(fabric, project_id)

    for who, data in (
        (machine, enrolment(project_id, KeyPair.generate(Kind.USER), agent)),
        (machine, enrolment(project_id, KeyPair.generate(Kind.USER), victim.guid)),
        (machine, enrolment("another-project", key, agent)),
        (theirs, asked),
        (theirs, enrolment(project_id, KeyPair.generate(Kind.USER), victim.guid)),
        (theirs, enrolment("another-project", KeyPair.generate(Kind.USER))),
        (await stranger(fabric, "nobody"), enrolment(project_id, KeyPair.generate(Kind.USER))),
        (fabric.keyring.machine_credential("unheard-of"), enrolment(project_id, KeyPair.generate(Kind.USER))),
    ):
        assert (await enrol(fabric, who, data))["error"]["code"] == "forbidden"

    after = await stored(fabric, project_id)
    assert {name: last for name, last in after.items() if name != "KV_REG__fabric"} == {
        name: last for name, last in before.items() if name != "KV_REG__fabric"
    }
    assert after["KV_REG__fabric"] == before["KV_REG__fabric"] + 1  # the machine that was let in to try


async def test_a_machine_credential_enrols_and_nothing_else(fabric: Fabric, project_id: str, victim: Agent) -> None:
    machine = await stranger(fabric, "mallory", project_id)
    async with visit(fabric.url, machine) as visitor, as_hub(fabric, subjects.FABRIC) as spy:
        publish = [
            *("rq.enrol.test-machine", f"rq.{project_id}.hello.{machine.name}", f"rq.{project_id}.hello.{victim.guid}"),
            *("$KV.REG__fabric.grant.g1", "$KV.REG__fabric.machine.x", "$JS.API.STREAM.NAMES", "_IB.test-machine.x"),
            *("$JS.API.STREAM.PURGE.KV_REG__fabric", "$SYS.REQ.CLAIMS.UPDATE", "$JS.API.DIRECT.GET.KV_REG__fabric"),
        ]
        subscribe = [">", "_IB.>", "_IB.test-machine.>", "rq.enrol.*", "$KV.>", "$SYS.>", "$JS.>"]
        denied = await visitor.denied(publish, subscribe)
        heard: list[Received] = []
        await spy.subscribe(">", heard.append)
        foreign = [
            "_IB.test-machine.x",
            "$KV.REG__fabric.grant.g1",
            "rq.enrol.test-machine",
            f"_IB.{machine.name}.>",
            "",
        ]
        for reply in foreign:
            data = enrolment(project_id, KeyPair.generate(Kind.USER))
            await visitor.publish(subjects.enrol(machine.name).encode(), data, reply=reply.encode())
        await visitor.publish(
            subjects.enrol(machine.name).encode(), b"{}", reply=b"_IB.%s.\xff" % machine.name.encode()
        )
        last = await visitor.client.request(subjects.enrol(machine.name), b"{}", timeout=SOON)

    assert set(publish + subscribe) - set(denied) == set()
    assert not {message.subject for message in heard} & set(foreign)
    assert json.loads(last.data)["error"]["code"] == "invalid_argument"


async def test_a_machine_that_floods_enrolment_leaves_room_for_others(fabric: Fabric, project_id: str) -> None:
    machine = await stranger(fabric, "mallory", project_id)
    async with visit(fabric.url, machine) as visitor:
        for _ in range(300):
            data = enrolment(project_id, KeyPair.generate(Kind.USER))
            await visitor.client.publish(subjects.enrol(machine.name), data, reply=f"_IB.{machine.name}.x")
        await visitor.client.flush()

        answer = await enrol(fabric, own_machine(fabric), enrolment(project_id, KeyPair.generate(Kind.USER)))

    assert "ok" in answer


async def test_a_revoked_agent_is_gone_at_once_and_for_good(fabric: Fabric, project_id: str) -> None:
    machine = await stranger(fabric, "mallory", project_id)
    async with (
        intrude(fabric, project_id, role=Role.OPERATOR) as boss,
        fabric.connect("next", project=project_id, capabilities=["python"]) as successor,
        intrude(fabric, project_id, machine=machine) as intruder,
    ):
        await boss.register(handle="boss")
        await intruder.register("rust", "python")
        offered = await boss.ask("broadcast_work_offer", {"description": "x", "capabilities": ["python"]})
        [held] = (await intruder.ask("claim_work", {"waitSeconds": 20}, seconds=30))["ok"]["work"]
        assert held["id"] == offered["ok"]["id"]
        async with intrude(fabric, project_id, machine=machine) as nameless:  # it has asked nothing, and has no handle
            for agent in (intruder, nameless):
                assert "ok" in await boss.ask("revoke_agent", {"guid": agent.guid})
                await asyncio.wait_for(agent.gone.wait(), SOON)

        [again] = (await successor.claim_work(wait_seconds=SOON)).work
        assert (again.id, again.attempt) == (held["id"], 1)
        assert await is_refused(fabric.url, intruder.credential)
        refused = await enrol(fabric, machine, enrolment(project_id, intruder.credential.key, intruder.guid))
        assert refused["error"]["code"] == "forbidden"


async def test_only_an_operator_grants_and_revokes(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    before = await stored(fabric, project_id)

    for operation, args in (
        ("grant_access", {"user": "mallory", "boundaries": ["corporate"]}),
        ("revoke_grant", {"id": "own"}),
        ("revoke_agent", {"guid": victim.guid}),
        ("list_grants", {}),
        ("revoke_invitation", {"id": "0123456789abcdef"}),
    ):
        assert await intruder.code(operation, args) == "forbidden"
    asked = {"agentType": "python", "boundaries": ["corporate"]}
    assert await intruder.code("register_agent", asked) == "boundary_refused"
    assert await intruder.code("set_handle", {"handle": "victim"}) == "handle_taken"
    assert await intruder.code("set_handle", {"handle": victim.guid}) == "invalid_argument"

    assert await stored(fabric, project_id) == before


@pytest.mark.usefixtures("victim")
async def test_an_operator_of_one_project_decides_nothing_in_others(fabric: Fabric, project_id: str) -> None:
    theirs = project_id + "-theirs"
    machine = await stranger(fabric, f"mallory-of-{project_id}", project_id, role=Role.OPERATOR)
    other, key = await stranger(fabric, f"eve-of-{project_id}", project_id), KeyPair.generate(Kind.USER).public
    async with (
        intrude(fabric, project_id, machine=machine, role=Role.OPERATOR) as mallory,
        intrude(fabric, project_id, role=Role.OPERATOR) as owner,
    ):
        await mallory.register("python")
        await owner.register("python")
        granted = await owner.ask("grant_access", {"user": "ada", "projects": [theirs], "boundaries": ["personal"]})
        both = await owner.ask(
            "grant_access", {"user": "ada", "projects": [project_id, theirs], "boundaries": ["personal"]}
        )
        invited = await owner.ask("invite", {"key": key})
        before = await stored(fabric, project_id)

        for operation, args, code in (
            ("grant_access", {"projects": [theirs], "boundaries": ["personal"]}, "forbidden"),
            ("grant_access", {"projects": [project_id, theirs], "boundaries": ["personal"]}, "forbidden"),
            ("revoke_grant", {"id": granted["ok"]["id"]}, "not_found"),
            ("revoke_grant", {"id": both["ok"]["id"]}, "forbidden"),
            ("invite", {"key": key, "projects": [theirs]}, "forbidden"),
            ("revoke_invitation", {"id": invited["ok"]["id"]}, "forbidden"),
            ("revoke_machine", {"name": own_machine(fabric).name}, "not_found"),
        ):
            assert await mallory.code(operation, args, projects=[]) == code, (operation, args)
        assert await stored(fabric, project_id) == before
        listed = (await mallory.ask("list_machines"))["ok"]["machines"]
        seen = {each["name"] for each in listed}
        assert {machine.name, other.name} <= seen
        assert own_machine(fabric).name not in seen

        made = (await mallory.ask("invite", {"key": KeyPair.generate(Kind.USER).public}))["ok"]["id"]
        listed = (await mallory.ask("list_machines"))["ok"]["machines"]
        seen = {each.get("invitation") for each in listed}
        assert made in seen  # for its own project, then
        assert invited["ok"]["id"] not in seen
        assert not await mallory.code("revoke_invitation", {"id": made})
        assert not await mallory.code("revoke_machine", {"name": other.name})


async def test_a_credential_whose_day_is_over_opens_nothing(fabric: Fabric, project_id: str, victim: Agent) -> None:
    key, agent = KeyPair.generate(Kind.USER), str(uuid4())
    assert "ok" in await enrol(fabric, own_machine(fabric), enrolment(project_id, key, agent))
    ends = datetime.now(UTC) + timedelta(seconds=8)  # long enough to come in and be answered once
    credential = Credential(jwt=fabric.keyring.agent_jwt(project_id, agent, key.public, ends), key=key)
    intruder = Intruder(project_id, credential)
    await intruder.connect(fabric.url, credential)
    assert "ok" in await intruder.ask("hello")

    await asyncio.wait_for(intruder.gone.wait(), SOON)

    await intruder.client.close()
    await eventually(lambda: is_refused(fabric.url, credential))  # its last second ends when the clock's does


async def test_what_an_agent_hides_from_others_they_do_not_find(
    fabric: Fabric, project_id: str, intruder: Intruder
) -> None:
    async with (
        fabric.connect("hidden", project=project_id, capabilities=["python"], visibility="private") as hidden,
        fabric.connect("homely", project=project_id, capabilities=["python"], visibility="user-only") as homely,
    ):
        for agent in (hidden, homely):
            for named in (agent.guid, agent.guid.upper(), "hidden" if agent is hidden else "homely"):
                assert await intruder.code("get_agent_info", {"guid": named}) == "not_found"
                told = {"recipientGuid": named, "message": "boo"}
                assert await intruder.code("send_direct_message", told) == "not_found"
        found = (await intruder.ask("discover_agents", {"includeOffline": True}))["ok"]["agents"]
        assert {hidden.guid, homely.guid}.isdisjoint(agent["guid"] for agent in found)


async def test_one_agents_messages_and_marks_are_not_anothers(
    fabric: Fabric, project_id: str, victim: Agent, intruder: Intruder
) -> None:
    async with fabric.connect("friend", project=project_id, capabilities=["python"]) as friend:
        sent = await friend.send_direct_message(victim.guid, "between us")
        for args in ({"id": sent.id}, {"ack": [sent.id]}):
            assert await intruder.code("read_direct_messages", args) == "not_found"
        told = {"recipientGuid": friend.guid, "message": "x", "replyTo": sent.id}
        assert await intruder.code("send_direct_message", told) == "not_found"
        forged = {"recipientGuid": victim.guid, "message": "done", "messageType": "work-result"}
        assert await intruder.code("send_direct_message", forged) == "invalid_argument"
        assert await intruder.code("read_messages", {"channel": "general", "id": sent.id}) == "not_found"
    page = await victim.read_direct_messages()
    assert [(message.message, message.redelivered) for message in page.messages] == [("between us", False)]
