"""Where the broker of a fabric listens: on NATS's own port if it is the user's usual one, else wherever is free."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from loominal.broker.server import free_port
from loominal.local import home as homes
from loominal.local.home import find_home, new_port, read_config


@pytest.fixture
def nats_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return a free port that stands for NATS's own."""
    monkeypatch.setattr(homes, "NATS_PORT", port := free_port())
    return port


def made(environ: dict[str, str]) -> Path:
    home = find_home(environ)
    home.mkdir(parents=True)
    return home


def test_a_fabric_in_its_usual_place_takes_natss_own_port_and_keeps_it(tmp_path: Path, nats_port: int) -> None:
    usual = made({"HOME": str(tmp_path)})

    assert new_port(usual, {"HOME": str(tmp_path), "LOOMINAL_HOME": str(usual)}) == nats_port
    config = read_config(usual)
    assert config is not None
    assert config.broker_port == nats_port


def test_another_fabric_and_one_whose_port_is_taken_get_a_free_one(tmp_path: Path, nats_port: int) -> None:
    usual, other = made({"HOME": str(tmp_path)}), made({"LOOMINAL_HOME": str(tmp_path / "other")})

    assert new_port(other, {"HOME": str(tmp_path), "LOOMINAL_HOME": str(other)}) != nats_port
    with socket.create_server(("127.0.0.1", nats_port)):
        assert new_port(usual, {"HOME": str(tmp_path)}) != nats_port
