"""Whose broker weft serves and how clients enter: our own, an operator's servers under our keys, or anybody's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loominal.broker.keyring import Keyring
from loominal.broker.server_config import operator_text
from loominal.fabric.client.entrance import find_entrance
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.runtime_file import Mode, Runtime, machine_credential_path, write_runtime
from loominal.model.errors import InvalidArgument
from loominal.weft.main import run
from loominal.weft.settings import Settings, broker_of

OURS, FOREIGN = "nats://127.0.0.1:4333", "nats://a:4222,nats://b:4222"


def settings(tmp_path: Path, **environ: str) -> Settings:
    return Settings.from_env({"LOOMINAL_HOME": str(tmp_path), **environ})


def runtime(mode: Mode, url: str) -> Runtime:
    return Runtime(mode=mode, url=url, started_at=datetime(2026, 3, 1, tzinfo=UTC))


def entrance_settings(tmp_path: Path, **environ: str) -> ClientSettings:
    return ClientSettings.from_env({"LOOMINAL_HOME": str(tmp_path), **environ}, directory=tmp_path, project="p")


def test_without_a_word_about_it_a_foreign_broker_is_open(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "keys")  # of a fabric that once ran here

    assert broker_of(settings(tmp_path, NATS_URL=FOREIGN), None) == (Mode.OPEN, FOREIGN)
    assert broker_of(settings(tmp_path, NATS_URL=FOREIGN), runtime(Mode.EMBEDDED, OURS)) == (Mode.OPEN, FOREIGN)
    assert broker_of(settings(tmp_path, NATS_URL=FOREIGN), runtime(Mode.OPEN, FOREIGN)) == (Mode.OPEN, FOREIGN)


def test_an_operators_servers_are_meant_by_whoever_says_so(tmp_path: Path) -> None:
    said = settings(tmp_path, NATS_URL=FOREIGN, LOOMINAL_MODE="external")

    assert broker_of(said, None) == (Mode.EXTERNAL, FOREIGN)
    assert broker_of(said, runtime(Mode.EMBEDDED, OURS)) == (Mode.EXTERNAL, FOREIGN)


def test_the_fabric_of_this_machine_needs_no_word(tmp_path: Path) -> None:
    assert broker_of(settings(tmp_path), runtime(Mode.EMBEDDED, OURS)) == (Mode.EMBEDDED, OURS)
    with pytest.raises(InvalidArgument, match="NATS_URL is not set"):
        broker_of(settings(tmp_path), None)


@pytest.mark.parametrize("environ", [{"LOOMINAL_MODE": "embedded"}, {"LOOMINAL_MODE": "external"}])
def test_a_mode_that_cannot_be_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="LOOMINAL_MODE"):
        settings(tmp_path, **environ)


def test_without_keys_weft_says_where_they_come_from(tmp_path: Path) -> None:
    said = settings(tmp_path, NATS_URL=FOREIGN, LOOMINAL_MODE="external")

    with pytest.raises(InvalidArgument, match="there are no keys") as refused:
        asyncio.run(run(said))

    assert "weft --broker-config" in refused.value.hint


def test_what_the_servers_need_names_operator_accounts_and_no_seed(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path / "keys")

    text = operator_text(keyring, Path("jwt"))

    for needed in (keyring.operator_jwt.split(".")[0], keyring.system_public, keyring.fabric_public, 'dir: "jwt"'):
        assert needed in text
    assert not any(word.strip('",').startswith(("SO", "SA", "SU")) for word in text.split())


@pytest.mark.parametrize("environ", [{}, {"NATS_URL": FOREIGN}, {"NATS_URL": "b:4222"}])
def test_on_an_operators_machine_agents_enrol_at_any_of_its_servers(tmp_path: Path, environ: dict[str, str]) -> None:
    Keyring.open(tmp_path / "keys").machine_credential("here").write(machine_credential_path(tmp_path))
    write_runtime(tmp_path, runtime(Mode.EXTERNAL, FOREIGN))

    entrance = find_entrance(entrance_settings(tmp_path, **environ))

    assert (entrance.enrols, entrance.servers.urls) == (True, ("nats://a:4222", "nats://b:4222"))


def test_a_machines_credential_enrols_wherever_it_is_shown(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path / "keys")
    machine, other = tmp_path / "machine.creds", tmp_path / "other.creds"
    keyring.machine_credential("elsewhere").write(machine)
    keyring.hub_credential("p", "tool").write(other)

    entrances = [
        find_entrance(entrance_settings(tmp_path / "home", NATS_URL=FOREIGN, NATS_CREDS=str(path)))
        for path in (machine, other)
    ]

    assert [entrance.enrols for entrance in entrances] == [True, False]
