"""Bearer tokens in the fabric's registry: one holder for each name, whoever writes at once, and revoked everywhere."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from loominal.broker import subjects
from loominal.fabric.enrolment import Enrol
from loominal.fabric.hub.access.bearers import Bearers, is_good
from loominal.fabric.hub.access.fabric_records import Bearer
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.model.errors import BrokerUnavailable, Duplicate, Forbidden, InvalidArgument, NotFound
from loominal.model.grant import Role
from loominal.weft.api.tokens import Identity, Tokens, hash_of
from tests.integration.conftest import eventually
from tests.integration.test_enrolment import OWNER, Fabric, enrol, fabric
from tests.patience import SOON

__all__ = ["fabric"]


def bearer(name: str = "ci", sha256: str = "00", minutes: float = 5.0) -> Bearer:
    now = datetime.now(UTC)
    return Bearer(
        name=name, sha256=sha256, role=Role.OPERATOR, created_at=now, expires_at=now + timedelta(minutes=minutes)
    )


async def test_of_several_that_take_a_name_at_once_exactly_one_gets_it(fabric: Fabric) -> None:
    async with AsyncExitStack() as stack:
        wefts = [Bearers((await fabric.another_registry(stack)).book) for _ in range(3)]

        made = await asyncio.gather(
            *(weft.create(bearer(sha256=f"{n:02}")) for n, weft in enumerate(wefts)), return_exceptions=True
        )

        assert [type(each) for each in made if each is not None] == [Duplicate, Duplicate]
        winner = f"{made.index(None):02}"
        await eventually(lambda: all([each.sha256 for each in weft.all()] == [winner] for weft in wefts))
        assert all(weft.find(winner) is not None for weft in wefts)


async def test_a_revoked_token_is_good_nowhere_and_its_name_may_be_taken_again(fabric: Fabric) -> None:
    async with AsyncExitStack() as stack:
        here, there = Bearers(fabric.registry.book), Bearers((await fabric.another_registry(stack)).book)
        await here.create(bearer(sha256="01"))
        await eventually(lambda: there.find("01") is not None)
        told = asyncio.create_task(there.changed())
        await asyncio.sleep(0)

        await here.revoke("ci")

        await asyncio.wait_for(told, SOON)
        await eventually(lambda: there.find("01") is None)
        assert here.find("01") is None
        await there.create(bearer(sha256="02"))
        assert there.find("02") is not None
        await eventually(lambda: here.find("02") is not None)
        assert here.find("01") is None


async def test_a_token_whose_time_is_over_is_good_no_more_and_frees_its_name(fabric: Fabric) -> None:
    bearers, short = Bearers(fabric.registry.book), bearer(sha256="01", minutes=0.0)
    await bearers.create(short)

    assert bearers.find("01") is None
    assert is_good(short, short.expires_at - timedelta(seconds=1))
    await bearers.create(bearer(sha256="02"))
    assert bearers.find("02") is not None


async def test_who_holds_a_token_on_a_stream_is_told_when_it_ends(fabric: Fabric) -> None:
    bearers, now = Bearers(fabric.registry.book), datetime.now(UTC)
    soon = Identity(name="soon", role=Role.AGENT, sha256=hash_of("soon"), expires_at=now + timedelta(seconds=1))
    tokens = Tokens("own", [soon], lambda: bearers)
    for name in ("ci", "other"):
        await bearers.create(bearer(name, sha256=hash_of(name)))
    ci, other, own = tokens.identify("ci"), tokens.identify("other"), tokens.identify("own")
    assert ci is not None
    assert other is not None
    assert own is not None
    streams = {each.name: asyncio.create_task(tokens.ended(each)) for each in (ci, other, own, soon)}

    await bearers.revoke("ci")

    await asyncio.wait_for(asyncio.gather(streams["ci"], streams["soon"]), SOON)
    assert tokens.identify("ci") is tokens.identify("soon") is None
    assert not streams["other"].done()
    assert not streams["local"].done()
    for stream in streams.values():
        stream.cancel()
    await asyncio.wait(streams.values())


async def test_a_token_that_nobody_knows_is_not_refused_while_the_registry_is_not_read(fabric: Fabric) -> None:
    def not_read() -> Bearers:
        raise BrokerUnavailable("the fabric's registry is not read yet")

    tokens = Tokens("own", bearers=not_read)

    assert tokens.identify("own") is not None
    with pytest.raises(BrokerUnavailable):
        tokens.identify("another")
    assert Tokens("own").identify("another") is None


async def test_what_cannot_be_created_or_revoked_is_refused(fabric: Fabric) -> None:
    bearers = Bearers(fabric.registry.book)

    with pytest.raises(InvalidArgument, match="own bearer token"):
        await bearers.create(bearer("local"))
    with pytest.raises(InvalidArgument, match="1-40"):
        await bearers.create(bearer("c.i"))
    with pytest.raises(NotFound, match="no bearer token"):
        await bearers.revoke("ci")
    assert bearers.all() == []


async def test_nobody_enrols_as_who_asks_over_rest(fabric: Fabric) -> None:
    asked: Enrol = enrol("api_operator_local")

    with pytest.raises(Forbidden, match="bearer tokens"):
        await fabric.ask("laptop", asked)

    assert not await fabric.bucket.get("agent.api_operator_local")
    assert subjects.request("shop", "list_work", "api_operator_local")  # it would be a subject


async def test_who_asks_over_rest_has_the_role_of_its_id_and_no_grants(fabric: Fabric) -> None:
    for authority, owner in ((fabric.registry, OWNER), (OpenAuthority(), "")):
        own = authority.standing("shop", "api_operator_local")
        other = authority.standing("shop", "api_observer_ci")

        assert own is not None
        assert other is not None
        assert (own.user, own.role, own.grants) == (owner, Role.OPERATOR, ())
        assert (other.user, other.role, other.grants) == ("ci@api", Role.OBSERVER, ())
