"""Whatever is asked, in whatever bytes: a typed error that says what to do, nothing stored, and the hub lives on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import msgspec
import pytest

from bench.process import cpu_seconds
from loominal.broker import subjects
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations import OPERATIONS, Operation
from loominal.fabric.protocol import FIELD_BYTES, NESTED_LEVELS, PROTO, REQUESTS_IN_FLIGHT, arguments
from loominal.model.errors import BY_CODE, InvalidArgument, NotFound
from loominal.model.grant import Role
from loominal.model.names import has_control
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import Intruder, Json, intrude, log_since, stored, stranger
from tests.patience import SOON

AT_ONCE = 16  # requests of the tables in flight
UNTIL_MAIL: Json = {"waitSeconds": 25, "kinds": ["message"]}
MESSAGE_CHARACTERS = 700  # of an error: it is read by a model and by people
REQUIRED: dict[str, Json] = {  # of the operations' arguments, something good
    "channel": "general",
    "message": "hello",
    "description": "do it",
    "agentType": "python",
    "handle": "somebody",
    "recipientGuid": "somebody",
    "guid": "somebody",
    "workId": "w_1",
    "itemId": "w_1",
    "summary": "done",
    "error": "failed",
    "id": "g_1",
}
MISTYPED: tuple[Json, ...] = (None, True, 5, -1, 2**70, 1.5, "text", [], {}, [[]], {"a": 1}, [None], [{}])
RAW = (  # JSON that is none, or no value that we know
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"9" * 5000,
        b"01",
        b'"\xff"',
        b'"\\ud800"',
        b'"\\ud800x"',
        b"'x'",
        b"",
    ),
    *(b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 10_000, b"{", b'"', b"undefined"),
    b"[" * (NESTED_LEVELS + 2) + b"]" * (NESTED_LEVELS + 2),
)
OVERSIZED = ("x" * (FIELD_BYTES + 1), {"x": "y" * FIELD_BYTES}, ["x" * 1000] * 250, "ü" * (FIELD_BYTES // 2 + 1))
TEXTS = (
    *("", " ", "\t", "\n", "a\nb", "a\0b", "\x1b[31mred", "*", ">", ".", "a.b", "_IB.x.y", "$JS.API.INFO", "a b", "-"),
    *(
        "node.js",
        "c++",
        "deadletter",
        "**bold**",
        "[link](http://x)",
        "|a|b|",
        "`code`",
        "# head",
        "<b>",
        "%s{}",
        "'; --",
    ),
    *("\u202eevil", "\u200b", "\u2028", "\ufeff", "\u0085", "é", "e\u0301", "ﬁ", "İ", "ß" * 60, "x" * 101, "x" * 65),
    *("x" * 300, "../../etc/passwd", "null", "0", "9" * 400, "2h", "-2h", "9999999999w", "9999-12-31T23:59:59-23:59"),
    *("0000-00-00T00:00:00Z", "somebody", "w_" + "0" * 20, "m_d0000001", "m_c" + "f" * 6 + "9" * 19, "AAAA", "=" * 50),
)


@pytest.fixture
async def bystander(fabric: Fabric, project_id: str) -> AsyncIterator[Agent]:
    """An agent that goes about its work meanwhile."""
    async with fabric.connect("bystander", project=project_id, capabilities=["python"]) as agent:
        yield agent


@pytest.fixture
async def intruder(fabric: Fabric, project_id: str, bystander: Agent) -> AsyncIterator[Intruder]:
    machine = await stranger(fabric, "mallory", project_id)
    async with intrude(fabric, project_id, machine=machine) as intruder:
        await intruder.register("python", handle="mallory")
        yield intruder


def malformed(operation: Operation) -> Iterator[bytes]:
    """Yield arguments that the operation's type does not take."""
    for given in _given(operation, (*map(_json, (*MISTYPED, *OVERSIZED)), *RAW)):
        if _refused(operation, given):
            yield given
    yield from (raw for raw in RAW if _refused(operation, raw))
    yield from (b"null", b"[]", b'"x"', b"5", b'{"surprise": 1}', b'{"a\\nb\\u001b": 1}', b'{"": 1}')
    if _required(operation):
        yield b"{}"


def strange(operation: Operation) -> Iterator[bytes]:
    """Yield arguments of the right types that mean little or nothing."""
    values = (
        [_json(text) for text in TEXTS] + [_json([text]) for text in TEXTS] + [_json({text: text}) for text in TEXTS]
    )
    numbers = [b"0", b"1", b"1e-300", b"999999999999", b'"0"', _json("x" * (FIELD_BYTES - 2))]
    nested = b'{"a":' * NESTED_LEVELS + b"1" + b"}" * NESTED_LEVELS
    for given in _given(operation, (*values, *numbers, nested)):
        if b'aitSeconds":9' not in given and not _refused(operation, given):
            yield given


def _given(operation: Operation, values: tuple[bytes, ...]) -> Iterator[bytes]:
    required = _required(operation)
    for name in operation.arguments.__struct_encode_fields__:
        others = {key: value for key, value in required.items() if key != name}
        for value in values:
            yield _json(others)[:-1] + (b", " if others else b"") + _json(name) + b":" + value + b"}"
    if required:
        doubled = _json(required)
        yield doubled[:-1] + b", " + doubled[1:]  # every key twice


def _required(operation: Operation) -> dict[str, Json]:
    fields = msgspec.structs.fields(operation.arguments)
    return {field.encode_name: REQUIRED.get(field.encode_name, "x") for field in fields if field.required}


def _refused(operation: Operation, given: bytes) -> bool:
    try:
        arguments(operation.arguments, given)
    except InvalidArgument:
        return True
    return False


def _json(value: Json) -> bytes:
    return json.dumps(value).encode()


async def ask_all(intruder: Intruder, asked: list[tuple[str, bytes]]) -> list[Json]:
    """Return the answers to all of these, each under an op of its own."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(operation: str, given: bytes) -> Json:
        async with gate:
            return await intruder.ask(operation, given, seconds=20)

    return await asyncio.gather(*(one(*each) for each in asked))


def flaws(asked: list[tuple[str, bytes]], answers: list[Json], *, refused: bool) -> list[str]:
    """Return what is wrong with the answers."""
    found = []
    for (operation, given), answer in zip(asked, answers, strict=True):
        problem = answer.get("error")
        if problem is None:
            if refused:
                found.append(f"{operation} took {given[:100]!r}")
            continue
        code, message = problem["code"], problem["message"]
        wrong = (
            code not in BY_CODE
            or code == "internal"
            or has_control(message)
            or len(message) > MESSAGE_CHARACTERS
            or (code in ("invalid_argument", "too_large", "not_registered") and not problem.get("hint"))
            or (refused and code not in ("invalid_argument", "too_large"))
        )
        if wrong:
            found.append(f"{operation} {given[:100]!r}: {str(problem)[:300]}")
    return found


async def test_arguments_of_the_wrong_shape_are_refused_and_leave_nothing(
    fabric: Fabric, project_id: str, bystander: Agent
) -> None:
    asked = [(name, given) for name, operation in OPERATIONS.items() for given in malformed(operation)]
    began = fabric.weft_log.stat().st_size
    async with intrude(fabric, project_id, role=Role.OPERATOR) as operator:
        await operator.register("python", handle="operator")
        before = await stored(fabric, project_id)

        answers = await ask_all(operator, asked)

        assert flaws(asked, answers, refused=True) == []
        assert await stored(fabric, project_id) == before
    assert (await bystander.get_my_handle()).handle == "bystander"
    assert "Traceback" not in log_since(fabric, began)


async def test_strange_words_are_taken_as_words_or_refused_in_words(
    fabric: Fabric, project_id: str, intruder: Intruder, bystander: Agent
) -> None:
    quiet = ("hello", "deregister_agent")
    asked = [
        (name, given) for name, operation in OPERATIONS.items() if name not in quiet for given in strange(operation)
    ]
    began = fabric.weft_log.stat().st_size

    answers = await ask_all(intruder, asked)

    assert flaws(asked, answers, refused=False) == []
    assert "Traceback" not in log_since(fabric, began)
    assert (await bystander.send_message("general", "still here")).channel == "general"


async def test_a_request_that_is_none_is_answered_in_words(fabric: Fabric, project_id: str, intruder: Intruder) -> None:
    good = {"proto": PROTO, "op": "x", "incarnation": intruder.incarnation}
    before = await stored(fabric, project_id)
    for request, code in (
        ({"op": "x", "incarnation": "y"}, "invalid_argument"),
        (good | {"proto": PROTO + 1}, "upgrade_needed"),
        (good | {"proto": 0}, "upgrade_needed"),
        (good | {"proto": -1}, "upgrade_needed"),
        (good | {"proto": 2**80}, "upgrade_needed"),
        (good | {"proto": "1"}, "invalid_argument"),
        *((good | {"op": op}, "invalid_argument") for op in ("", " ", "a.b", "*", "x" * 65, "\n", None, 5, "ü")),
        *((good | {"incarnation": each}, "invalid_argument") for each in ("", "a:b", "x" * 65, "\0", None, 5)),
        *((good | {"leaseToken": token}, "invalid_argument") for token in (-1, 2**63, 2**80, "1", 1.5, None)),
        *((good | {"limitBytes": limit}, "invalid_argument") for limit in (-1, "1", 1.5, None)),
        (good | {"op": "x" * 300_000}, "too_large"),
    ):
        answer = await intruder.send("send_message", _json(request))
        assert answer["error"]["code"] == code, (str(request)[:200], answer)
        assert answer["error"].get("hint"), answer
    for raw in (b"", b" ", b"x", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b"\0" * 1000, b"GET / HTTP/1.1"):
        assert (await intruder.send("send_message", raw))["error"]["code"] == "invalid_argument"
    for size in (610_000, 3_000_000, 3_700_000):
        huge = _json(good)[:-1] + b', "args": {"message": "x", "channel": "' + b"x" * size + b'"}}'
        assert (await intruder.send("send_message", huge))["error"]["code"] == "too_large"
    for name in ("nothing", "send-message", "__init__", "SEND_MESSAGE", "x" * 64):
        answer = await intruder.ask(name)
        assert answer["error"]["code"] == "invalid_argument"
        hint = answer["error"]["hint"]
        assert "did you mean" in hint or "the operations are: " in hint
    for limit in (1, 10, 2**62):
        assert "ok" in await intruder.ask("read_messages", {"channel": "general"}, limitBytes=limit)

    assert await stored(fabric, project_id) == before


async def test_a_text_that_was_taken_can_be_read_however_deep_it_is(
    fabric: Fabric, project_id: str, intruder: Intruder, bystander: Agent
) -> None:
    nested: dict[str, object] = {"end": 1}
    for _ in range(NESTED_LEVELS - 2):
        nested = {"a": nested}
    told = {"recipientGuid": bystander.guid, "message": "deep", "metadata": nested}
    assert "ok" in await intruder.ask("send_direct_message", told)
    assert "ok" in await intruder.ask("send_message", {"channel": "general", "message": "x", "metadata": nested})
    offer = {"description": "deep", "capabilities": ["python"], "contextData": nested, "assignTo": bystander.guid}
    assert "ok" in await intruder.ask("broadcast_work_offer", offer)

    assert (await bystander.read_direct_messages()).messages[0].metadata == nested
    assert (await bystander.read_messages("general")).messages[0].metadata == nested
    [work] = (await bystander.claim_work(wait_seconds=SOON)).work
    assert work.context_data == nested
    await bystander.complete_work(work.id, summary="ok", result=nested)
    assert (await bystander.get_work(work.id)).result == nested


async def test_no_text_of_a_request_takes_the_hubs_time(fabric: Fabric, intruder: Intruder, bystander: Agent) -> None:
    marks = "a" + "\u0301\u0327" * (FIELD_BYTES // 4 - 9)  # putting these in order takes time by their square
    labels = [f"{number:x}" for number in range(FIELD_BYTES // 9)]
    await bystander.get_my_handle()

    assert fabric.weft is not None
    before = cpu_seconds(fabric.weft.pid)
    for operation, args in (
        ("set_handle", {"handle": marks}),
        ("send_message", {"channel": marks, "message": "x", "create": True}),
        ("register_agent", {"agentType": marks}),
        ("register_agent", {"agentType": "x", "capabilities": [marks]}),
        ("register_agent", {"agentType": "x", "capabilities": labels}),
        ("register_agent", {"agentType": "x", "boundaries": labels}),
        ("discover_agents", {"capability": marks}),
        ("claim_work", {"capability": marks}),
        ("broadcast_work_offer", {"description": "x", "capabilities": labels}),
        ("broadcast_work_offer", {"description": "x", "dependsOn": labels}),
        ("broadcast_work_offer", {"description": "x", "boundary": marks}),
        ("broadcast_work_offer", {"description": "x", "taskId": marks}),
        ("send_direct_message", {"recipientGuid": bystander.guid, "message": "x", "messageType": marks}),
    ):
        answer = await intruder.ask(operation, args)
        assert answer["error"]["code"] == "invalid_argument", operation
        assert answer["error"].get("hint"), answer

    assert cpu_seconds(fabric.weft.pid) - before < 10  # for the price of each alone


async def test_capabilities_that_look_alike_are_different(fabric: Fabric, project_id: str, bystander: Agent) -> None:
    names = [
        "node.js",
        "node-js",
        "c++",
        "c--",
        "c",
        "*",
        ">",
        "#",
        "deadletter",
        "a b",
        "a.b",
        "a|b",
        "日本語",
        "é",
        "null",
    ]
    for name in names:
        await bystander.broadcast_work_offer(f"for {name}", capabilities=[name])
    for name in names:
        async with fabric.connect(project=project_id, capabilities=[name], client="worker") as worker:
            [work] = (await worker.claim_work(wait_seconds=SOON)).work
            assert (work.description, work.capabilities) == (f"for {name}", (name,))
            assert (await worker.claim_work()).work == ()
            await worker.complete_work(work.id, summary="ok")


async def test_one_spelling_of_a_capability_is_as_good_as_another(
    fabric: Fabric, project_id: str, bystander: Agent
) -> None:
    async with fabric.connect(project=project_id, capabilities=["Café", " Node.JS "], client="worker") as worker:
        for name in ("CAFE\u0301", "node.js"):
            offered = await bystander.broadcast_work_offer("x", capabilities=[name])
            [work] = (await worker.claim_work(wait_seconds=SOON)).work
            assert work.id == offered.id
            await worker.complete_work(work.id, summary="ok")


async def test_a_flood_of_one_agent_is_its_own_trouble(
    fabric: Fabric, project_id: str, intruder: Intruder, bystander: Agent
) -> None:
    waits = [asyncio.create_task(intruder.code("wait_for_events", UNTIL_MAIL)) for _ in range(200)]
    await eventually(lambda: sum(wait.done() for wait in waits) == len(waits) - REQUESTS_IN_FLIGHT)
    done, parked = await asyncio.wait(waits, timeout=0)

    assert {task.result() for task in done} == {"busy"}
    offered = await bystander.broadcast_work_offer("x", capabilities=["python"])
    [work] = (await bystander.claim_work(wait_seconds=SOON)).work
    await bystander.complete_work(work.id, summary="ok")
    assert offered.id == work.id
    assert len(parked) == REQUESTS_IN_FLIGHT
    assert not any(task.done() for task in parked)
    await bystander.send_direct_message(intruder.guid, "enough")
    assert await asyncio.gather(*parked) == [""] * REQUESTS_IN_FLIGHT
    assert await intruder.code("get_my_handle") == ""


async def test_an_agent_polls_for_work_once_at_a_time(intruder: Intruder, bystander: Agent) -> None:
    first = asyncio.create_task(intruder.code("claim_work", {"waitSeconds": 20}))
    await asyncio.sleep(0)

    async def busy() -> bool:
        return await intruder.code("claim_work", {"waitSeconds": 0}) == "busy"

    await eventually(busy)
    await bystander.broadcast_work_offer("x", capabilities=["python"], assign_to=intruder.guid)
    assert await first == ""
    assert await intruder.code("claim_work") == ""


async def test_one_deed_asked_a_thousand_times_is_done_and_answered_once_or_little_more(
    fabric: Fabric, project_id: str, intruder: Intruder
) -> None:
    heard = []

    async def hear(message: object) -> None:
        heard.append(message)

    await intruder.client.subscribe(f"_IB.{intruder.guid}.flood", cb=hear)
    asked = {"proto": PROTO, "op": "one-deed", "incarnation": intruder.incarnation, "args": {"waitSeconds": 1}}
    for _ in range(1000):
        await intruder.client.publish(intruder.subject("claim_work"), _json(asked), reply=f"_IB.{intruder.guid}.flood")
    await eventually(lambda: bool(heard))
    assert await intruder.code("get_my_handle") == ""

    assert len(heard) <= 4


async def test_a_handle_that_no_agent_has_is_not_found_by_any_spelling(intruder: Intruder, bystander: Agent) -> None:
    for named in ("bystande", "bystander.", "*", "bystander@elsewhere", "@", f"{bystander.guid}@x", str(uuid4()), ""):
        assert await intruder.code("get_agent_info", {"guid": named}) == "not_found", named
        with pytest.raises(NotFound):
            await bystander.send_direct_message(named or " ", "x")
    assert subjects.last_token(intruder.subject("hello")) == intruder.guid
