"""Where weft may serve HTTP, and how often somebody may ask."""

from __future__ import annotations

import contextvars
import logging
from pathlib import Path

import pytest

from loominal.model.errors import InvalidArgument
from loominal.weft.api import rate, request_id
from loominal.weft.api.rate import Rate
from loominal.weft.api.server import Certificate
from loominal.weft.settings import HttpSettings, Settings


def settings(**environ: str) -> HttpSettings:
    return Settings.from_env({"LOOMINAL_HOME": "/nowhere", **environ}).http


@pytest.mark.parametrize("host", ["", "127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_nothing_more_is_needed(host: str) -> None:
    assert settings(API_HOST=host).on_loopback


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "weft.example", "localhost.example", "::ffff:192.0.2.1"]
)
def test_beyond_loopback_it_takes_tls_or_somebodys_word(host: str) -> None:
    with pytest.raises(InvalidArgument, match=r"API_TLS_CERT.*API_INSECURE=1"):
        settings(API_HOST=host)
    with pytest.raises(InvalidArgument, match="API_INSECURE=1"):
        settings(API_HOST=host, API_INSECURE="0")

    assert settings(API_HOST=host, API_INSECURE="1").insecure
    assert settings(API_HOST=host, API_TLS_CERT="/a", API_TLS_KEY="/b").certificate == Path("/a")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"API_TLS_CERT": "/a"}, "belong together"),
        ({"API_TLS_KEY": "/a"}, "belong together"),
        ({"API_INSECURE": "yes"}, "API_INSECURE"),
        ({"API_RATE": "0"}, "API_RATE"),
        ({"API_RATE": "many"}, "API_RATE"),
        ({"API_PORT": "0"}, "API_PORT"),
        ({"API_HOSTS": "weft.example:80"}, "API_HOSTS"),
        ({"API_HOSTS": "a b"}, "API_HOSTS"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(environ: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        settings(**environ)


def test_names_and_addresses_are_listed_with_commas() -> None:
    assert settings(API_HOSTS=" weft.example, 192.0.2.1 ,[2001:db8::1],").hosts == (
        "weft.example",
        "192.0.2.1",
        "2001:db8::1",
    )


@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"])
def test_a_certificate_that_cannot_be_served_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "cert.pem"
    if text is not None:
        file.write_text(text)

    with pytest.raises(InvalidArgument, match="cannot serve TLS"):
        Certificate.read(file, file)


def test_an_asker_has_a_burst_and_then_its_rate_whatever_others_do() -> None:
    now = 0.0
    asked = Rate(10, clock=lambda: now)

    assert [asked.take("ann") for _ in range(20)] == [0.0] * 20
    assert asked.take("ann") == pytest.approx(0.1)
    assert asked.take("bob") == 0.0
    now = 0.1
    assert asked.take("ann") == 0.0
    assert asked.take("ann") > 0
    now = 1000.0
    assert [asked.take("ann") == 0.0 for _ in range(21)] == [True] * 20 + [False]


def test_askers_that_were_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MOST_ASKERS", 5)
    now = 0.0
    asked = Rate(1, clock=lambda: now)
    for name in "abcde":
        asked.take(name)
    now = 2.0

    asked.take("f")

    assert len(asked._left) == 1


def test_lines_of_the_log_name_their_request() -> None:
    record = logging.LogRecord("loominal", logging.INFO, "file", 1, "text", (), None)
    assert request_id.InLog().filter(record)
    assert record.__dict__["request"] == ""

    answering = contextvars.copy_context()
    answering.run(request_id.begin, "build-7")

    assert answering.run(request_id.InLog().filter, record)
    assert record.__dict__["request"] == " [build-7]"
