"""Who a warp is after a restart, in another session, and when its agent is in use elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path

import pytest

import loominal
from loominal.model.errors import Forbidden
from tests.acceptance.warps import Warp, warp
from tests.integration.fabric import Fabric
from tests.patience import SOON


@pytest.fixture(scope="module")
def scale() -> float:
    """Leases outlast the start of a warp, however loaded the machine is."""
    return 5


async def guid(agent: Warp) -> str:
    me = await agent.tool("get_my_handle")
    return str(me["guid"])


async def test_a_session_is_the_same_agent_after_a_restart_and_another_session_is_another(fabric: Fabric) -> None:
    seen: dict[str, str] = {}
    for session in ("s1", "s2", "s1", "s2"):
        async with warp(fabric.home, project="sessions", CLAUDE_CODE_SESSION_ID=session) as agent:
            assert seen.setdefault(session, await guid(agent)) == await guid(agent)
    assert seen["s1"] != seen["s2"]


async def test_a_killed_warp_ends_its_work_when_it_is_back_without_joining_again(fabric: Fabric) -> None:
    async with warp(fabric.home, project="adopt", CLAUDE_CODE_SESSION_ID="s1") as first:
        await first.tool("join", handle="ann", capabilities=["c"])
        offer = await first.tool("broadcast_work_offer", taskId="t", description="do", requiredCapability="c")
        await first.tool("claim_work", waitSeconds=SOON)
        first.process.kill()
        await first.ended()

    async with warp(fabric.home, project="adopt", CLAUDE_CODE_SESSION_ID="s1") as again:
        done = await again.tool("complete_work", workId="t", summary="did")
        assert done.get("status") == "done", done
        assert (await again.tool("get_work", workId=offer["id"]))["attempt"] == 1


async def test_who_was_killed_is_the_same_agent_when_it_is_back_and_its_work_is_its_own(
    ann: Warp, fabric: Fabric, project: str
) -> None:
    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as first:
        me = (await first.tool("join", capabilities=["c"]))["agent"]
        offer = await ann.tool("broadcast_work_offer", description="do", requiredCapability="c")
        await first.tool("claim_work", waitSeconds=SOON)
        first.process.kill()
        await first.ended()

    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as second:
        joined = await second.tool("join")

        assert (joined["agent"]["guid"], joined["agent"]["agentType"]) == (me["guid"], "gemini")
        assert [each["id"] for each in joined["claims"]] == [offer["id"]]
        assert (await second.tool("complete_work", workId=offer["id"], summary="did"))["status"] == "done"
    assert (await ann.tool("get_work", workId=offer["id"]))["attempt"] == 1


async def test_a_handle_asked_for_in_a_new_session_brings_back_the_agent_that_had_it(fabric: Fabric) -> None:
    async with warp(fabric.home, project="handles", CLAUDE_CODE_SESSION_ID="s1") as first:
        me = (await first.tool("join", handle="ann"))["agent"]["guid"]
        async with warp(fabric.home, project="handles", CLAUDE_CODE_SESSION_ID="s2") as other:
            assert (await other.tool("join", handle="ann"))["error"]["code"] == "handle_taken"
            await other.tool("join", handle="bob")

    async with warp(fabric.home, project="handles", CLAUDE_CODE_SESSION_ID="s3") as again:
        assert await guid(again) != me
        joined = await again.tool("join", handle="ann")
        assert (joined["agent"]["guid"], joined["agent"]["handle"]) == (me, "ann")
    async with warp(fabric.home, project="handles", CLAUDE_CODE_SESSION_ID="s3") as same:
        assert await guid(same) == me


async def test_a_named_agent_that_lives_elsewhere_is_said_to_be_in_use(fabric: Fabric) -> None:
    named = str(uuid.uuid4())
    async with (
        warp(fabric.home, project="named", LOOMINAL_AGENT_ID=named) as first,
        warp(fabric.home, project="named", LOOMINAL_AGENT_ID=named) as second,
    ):
        assert await guid(first) == named
        error = (await second.tool("get_my_handle"))["error"]
        assert (error["code"], named in error["message"]) == ("busy", True)
        assert "LOOMINAL_AGENT_ID" in error["hint"]

        assert await first.leave() == 0
        assert await guid(second) == named


async def test_an_attached_warp_is_the_same_agent_and_ends_its_work_but_takes_none(fabric: Fabric) -> None:
    async with warp(fabric.home, project="attach") as first:
        me = (await first.tool("join", handle="ann", capabilities=["c"]))["agent"]["guid"]
        offer = await first.tool("broadcast_work_offer", taskId="t", description="do", requiredCapability="c")
        await first.tool("claim_work", waitSeconds=SOON)
        [place] = (fabric.home / "agents" / "attach").glob("*/*/socket")

        async with warp(fabric.home, project="elsewhere", LOOMINAL_ATTACH=str(place)) as beside:
            assert await guid(beside) == me
            assert (await beside.tool("claim_work"))["error"]["code"] == "forbidden"
            assert (await beside.tool("get_work", workId="nothing"))["error"]["code"] == "not_found"
            assert (await beside.tool("report_progress", workId="t", percent=50))["percent"] == 50
            assert (await beside.tool("complete_work", workId="t", summary="did", result={"n": 1}))["status"] == "done"
            assert (await first.tool("get_work", workId=offer["id"]))["result"] == {"n": 1}
            [message] = (await beside.tool("read_direct_messages", waitSeconds=SOON))["messages"]
            assert message["metadata"]["workId"] == offer["id"]

            await first.leave()
            assert (await beside.tool("list_channels"))["error"]["code"] == "broker_unavailable"


async def test_a_program_attaches_where_warp_does_and_is_itself_where_it_names_an_agent(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with warp(fabric.home, project="beside") as first:
        me = (await first.tool("join", handle="ann", capabilities=["c"]))["agent"]["guid"]
        [place] = (fabric.home / "agents" / "beside").glob("*/*/socket")
        monkeypatch.setenv("LOOMINAL_ATTACH", str(place))
        async with loominal.connect() as beside, loominal.connect("ann") as again:
            assert (beside.guid, beside.handle, beside.project.id, again.guid) == (me, "ann", "beside", me)
            await beside.send_direct_message("ann", "to myself")
            assert [each.message for each in (await again.read_direct_messages()).messages] == ["to myself"]
            with pytest.raises(Forbidden):
                await beside.claim_work()
        with pytest.raises(Forbidden, match="attached to ann"):
            async with loominal.connect("bob", capabilities=["c"]):
                pass
        async with loominal.connect(home=fabric.home, project="beside") as own:
            assert own.guid != me


async def test_two_warps_of_one_session_that_start_at_once_are_two_agents_and_so_again_after_a_restart(
    fabric: Fabric,
) -> None:
    async def both() -> list[str]:
        async with contextlib.AsyncExitStack() as stack:
            started = await asyncio.gather(
                *(
                    stack.enter_async_context(warp(fabric.home, project="twins", CLAUDE_CODE_SESSION_ID="s1"))
                    for _ in range(2)
                )
            )
            return sorted(await asyncio.gather(*map(guid, started)))

    first = await both()
    assert len(set(first)) == 2
    assert await both() == first


async def test_another_homes_agent_is_nobody_elses_by_its_id(fabric: Fabric, tmp_path: Path) -> None:
    async with warp(fabric.home, project="theirs") as ann:
        me = await guid(ann)
    for name in ("fabric.json", "machine.creds"):  # another home on the same machine, with agents of its own
        (tmp_path / name).write_bytes((fabric.home / name).read_bytes())

    async with warp(tmp_path, project="theirs", LOOMINAL_AGENT_ID=me) as thief:
        error = (await thief.tool("get_my_handle"))["error"]

    assert (error["code"], "belongs to another key" in error["message"]) == ("forbidden", True)


async def test_a_state_directory_that_cannot_be_written_is_named_at_the_first_call(
    fabric: Fabric, tmp_path: Path
) -> None:
    for name in ("fabric.json", "machine.creds"):
        (tmp_path / name).write_bytes((fabric.home / name).read_bytes())
    (tmp_path / "agents").write_text("")  # like a disk that is full or read-only, also to root

    async with warp(tmp_path, project="readonly") as agent:
        for _ in range(2):
            error = (await agent.tool("get_my_handle"))["error"]
            assert (error["code"], str(tmp_path) in error["message"]) == ("invalid_argument", True)
        (tmp_path / "agents").unlink()
        assert await guid(agent)
