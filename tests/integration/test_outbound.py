"""Requests to addresses that others chose: which addresses are judged, and that no other is ever connected to."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loominal.broker.certificates import ensure_certificates
from loominal.model.errors import Forbidden, Unconfirmed, Unreachable
from loominal.weft.outbound import ANSWER_BYTES, Outbound, Outgoing, Reply, retry_after
from tests.http_stand_in import Answered, Asked, standing_in
from tests.patience import SOON

PRIVATE = """
127.0.0.1 127.8.9.1 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.1.1 169.254.169.254 100.64.0.1 100.100.100.200
168.63.129.16 224.0.0.1 240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 :: ::1 fe80::1 fe80::1%lo fc00::1 fd00:ec2::254
ff02::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:a00:1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1::1
"""
NEVER = "0.0.0.0 :: 169.254.169.254 ::ffff:169.254.169.254 fd00:ec2::254 168.63.129.16 224.0.0.1 ff02::1"


class Names:
    """A resolver whose answers are the given ones, one after the other, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def fine(asked: Asked) -> Answered:
    return Answered(body=b"fine")


@pytest.mark.parametrize("address", PRIVATE.split())
async def test_nothing_is_sent_to_an_address_that_is_not_public(address: str) -> None:
    outbound = Outbound(resolver=Names(["93.184.216.34", address]))  # one bad address is enough

    with pytest.raises(Forbidden, match="is at"):
        await outbound.send(Outgoing(method="POST", url="https://rebound.example/"), timeout_seconds=SOON)
    with pytest.raises(Forbidden, match="is at"):
        await outbound.reach("https://rebound.example/", timeout_seconds=SOON)


@pytest.mark.parametrize("address", NEVER.split())
async def test_what_keeps_credentials_or_is_no_machine_is_never_asked(address: str) -> None:
    outbound = Outbound(private_networks=True, resolver=Names([address]))

    with pytest.raises(Forbidden, match="is at"):
        await outbound.send(Outgoing(method="POST", url="http://metadata.example/"), timeout_seconds=SOON)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
async def test_every_way_to_write_this_machine_is_refused(host: str) -> None:
    async with standing_in(fine) as stand_in:
        with pytest.raises((Forbidden, Unreachable)):
            await Outbound().send(Outgoing(method="POST", url=f"https://{host}:{stand_in.port}/"), timeout_seconds=SOON)
        assert stand_in.asked == []


async def test_http_without_tls_is_for_private_networks_alone() -> None:
    with pytest.raises(Forbidden, match="not https"):
        await Outbound(resolver=Names(["93.184.216.34"])).send(
            Outgoing(method="POST", url="http://public.example/"), timeout_seconds=SOON
        )


async def test_a_name_is_resolved_once_and_only_the_judged_address_is_connected_to() -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    async with standing_in(fine) as stand_in:
        url = f"http://moving.example:{stand_in.port}/a?b=c"
        reply = await Outbound(private_networks=True, resolver=names).send(
            Outgoing(method="PUT", url=url, headers={"X-A": "b"}, body=b"text"), timeout_seconds=SOON
        )

        assert (reply.status, reply.body, names.asked) == (200, b"fine", ["moving.example"])
        [asked] = stand_in.asked
        assert (asked.method, asked.target, asked.body, asked.headers["x-a"]) == ("PUT", "/a?b=c", b"text", "b")
        assert asked.headers["host"] == f"moving.example:{stand_in.port}"


async def test_the_next_address_is_tried_when_one_takes_no_connection() -> None:
    async with standing_in(fine) as stand_in:
        names = Names(["::1", "127.0.0.1"])
        reply = await Outbound(private_networks=True, resolver=names).send(
            Outgoing(method="POST", url=f"http://two.example:{stand_in.port}/"), timeout_seconds=SOON
        )

    assert reply.status == 200


async def test_no_proxy_of_the_environment_and_no_redirect_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def elsewhere(asked: Asked) -> Answered:
        return Answered(status=307, headers={"Location": "/elsewhere"})

    async with standing_in(fine) as proxy, standing_in(elsewhere) as stand_in:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        reply = await Outbound(private_networks=True, resolver=Names(["127.0.0.1"])).send(
            Outgoing(method="POST", url=f"http://hop.example:{stand_in.port}/"), timeout_seconds=SOON
        )

        assert reply.status == 307
        assert (len(stand_in.asked), proxy.asked) == (1, [])


async def test_a_certificate_has_to_be_for_the_name_and_from_a_trusted_authority(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, ["right.example"], datetime.now(UTC))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.server)
    trusting = ssl.create_default_context(cafile=files.ca)
    async with standing_in(fine, server) as stand_in:
        for tls, name, taken in (
            (trusting, "right.example", True),
            (trusting, "wrong.example", False),
            (None, "right.example", False),
        ):
            outbound = Outbound(private_networks=True, resolver=Names(["127.0.0.1"]), tls=tls)
            url = f"https://{name}:{stand_in.port}/"
            if taken:
                assert (await outbound.send(Outgoing(method="GET", url=url), timeout_seconds=SOON)).status == 200
                assert await outbound.reach(url, timeout_seconds=SOON) == "127.0.0.1"
                continue
            with pytest.raises(Unreachable, match="certificate"):
                await outbound.send(Outgoing(method="GET", url=url), timeout_seconds=SOON)
            with pytest.raises(Unreachable, match="certificate"):
                await outbound.reach(url, timeout_seconds=SOON)
        assert len(stand_in.asked) == 1


async def test_what_was_not_sent_and_what_may_have_been_taken_are_two_errors() -> None:
    async def cut(asked: Asked) -> Answered:
        return Answered(cut=True)

    outbound = Outbound(private_networks=True, resolver=Names(["127.0.0.1"]))
    async with standing_in(cut) as stand_in:
        with pytest.raises(Unconfirmed):
            await outbound.send(
                Outgoing(method="POST", url=f"http://cut.example:{stand_in.port}/"), timeout_seconds=SOON
            )
    with pytest.raises(Unreachable, match=r"closed\.example"):  # nobody listens there any more
        await outbound.send(
            Outgoing(method="POST", url=f"http://closed.example:{stand_in.port}/"), timeout_seconds=SOON
        )


async def test_an_answer_that_does_not_come_in_time_is_lost() -> None:
    over = asyncio.Event()

    async def never(asked: Asked) -> Answered:
        await over.wait()
        return Answered()

    async with standing_in(never) as stand_in:
        with pytest.raises(Unconfirmed, match="did not answer within 4 s"):
            await Outbound(private_networks=True, resolver=Names(["127.0.0.1"])).send(
                Outgoing(method="POST", url=f"http://slow.example:{stand_in.port}/"), timeout_seconds=4
            )
        over.set()


async def test_of_a_huge_or_cut_body_the_beginning_is_read() -> None:
    async def huge(asked: Asked) -> Answered:
        return Answered(body=b"x" * (3 * ANSWER_BYTES)) if asked.path == "/huge" else Answered(body=b"half", cut=True)

    outbound = Outbound(private_networks=True, resolver=Names(["127.0.0.1"]))
    async with standing_in(huge) as stand_in:
        url = f"http://huge.example:{stand_in.port}"
        whole = await outbound.send(Outgoing(method="GET", url=f"{url}/huge"), timeout_seconds=SOON)
        cut = await outbound.send(Outgoing(method="GET", url=f"{url}/cut"), timeout_seconds=SOON)

    assert (len(whole.body), cut.body) == (ANSWER_BYTES, b"half")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("-1", 0),
        ("soon", 0),
        ("", 0),
        ("²", 0),
        ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 +99999999999", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert retry_after(Reply(status=429, headers={"retry-after": value}), 60.0) == seconds
