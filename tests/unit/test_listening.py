"""What `up --listen` understands, and the certificates that the broker is given for it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loominal.broker.certificates import ensure_certificates, fingerprint, is_fit
from loominal.fabric.addresses import addresses
from loominal.local.listening import Listen, certified, parse_listen
from loominal.model.errors import InvalidArgument

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HOSTS = ["192.168.1.5", "127.0.0.1", "loom.example"]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0", "0.0.0.0", 0),
        ("192.168.1.5:4222", "192.168.1.5", 4222),
        ("localhost", "127.0.0.1", 0),
        ("Loom.Example:1", "loom.example", 1),
        ("[::1]:4222", "::1", 4222),
        ("fd00::2", "fd00::2", 0),
    ],
)
def test_hosts_and_ports_are_understood(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == Listen(host=host, port=port)


@pytest.mark.parametrize("text", ["", ":4222", "loom:", "loom:0", "loom:70000", "a b", "-x", "nats://loom", "[::1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_listen(text)


def test_only_the_loopback_address_goes_without_tls() -> None:
    assert parse_listen("127.0.0.1").plain
    assert not any(parse_listen(host).plain for host in ("127.0.0.2", "::1", "0.0.0.0", "loom.example"))


def test_an_invitation_tells_no_loopback_address_if_there_is_another() -> None:
    assert addresses("192.168.1.5") == ["192.168.1.5"]
    told = addresses("0.0.0.0")
    assert told == ["127.0.0.1"] or not any(each.startswith("127.") for each in told)
    assert {"127.0.0.1", "localhost"} <= set(certified("192.168.1.5"))


def test_certificates_are_secret_and_stay_while_they_are_right(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path / "tls", HOSTS, NOW)
    before = made.ca.read_text(), made.server.read_text()

    ensure_certificates(tmp_path / "tls", HOSTS[:1], NOW + timedelta(days=200))

    assert (made.ca.read_text(), made.server.read_text()) == before
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()} == {0o600}
    ssl.create_default_context(cafile=made.ca).load_cert_chain(made.server)


def test_a_new_address_and_a_near_end_get_a_new_certificate_of_the_same_authority(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, HOSTS, NOW)
    authority, first = made.ca.read_text(), made.server.read_text()
    assert not is_fit(made, [*HOSTS, "10.0.0.7"], NOW)
    assert not is_fit(made, HOSTS, NOW + timedelta(days=350))

    ensure_certificates(tmp_path, [*HOSTS, "10.0.0.7"], NOW)

    assert is_fit(made, [*HOSTS, "10.0.0.7"], NOW)
    assert made.server.read_text() != first
    assert made.ca.read_text() == authority
    assert len(fingerprint(authority)) == 95


def test_a_damaged_certificate_of_the_broker_is_made_anew(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, HOSTS, NOW)
    made.server.write_text("damaged")

    ensure_certificates(tmp_path, HOSTS, NOW)

    assert is_fit(made, HOSTS, NOW)


def test_a_damaged_authority_is_never_replaced(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, HOSTS, NOW)
    (tmp_path / "ca.key").write_text("damaged")
    made.server.unlink()

    with pytest.raises(InvalidArgument, match=r"ca\.key"):
        ensure_certificates(tmp_path, HOSTS, NOW)
