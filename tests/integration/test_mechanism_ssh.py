"""The mechanism `ssh`, against a real sshd."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from loominal.model.errors import Forbidden, InvalidArgument, StartFailed, Unconfirmed, Unreachable
from loominal.model.launch import Condition
from loominal.model.mechanism import Mechanism, SshConfig, checked_config
from loominal.weft.mechanisms import MECHANISMS
from loominal.weft.mechanisms.means import Means
from loominal.weft.mechanisms.ssh import Ssh
from loominal.weft.weft_file import Allow
from tests.command_conformance import RunsCommands, agent, agents, processes, told_by_kernel
from tests.integration.conftest import eventually
from tests.mechanism_conformance import Got, an_order
from tests.patience import SOON
from tests.sshd import Sshd, make_key


class SshPlace:
    """Another machine, as far as sshd on loopback can be one: with a home of its own."""

    def __init__(self, directory: Path, sshd: Sshd) -> None:
        self.sshd = sshd
        self.folder = directory / "work"
        self.folder.mkdir()
        self.launches = sshd.home / "state" / "loominal" / "launches"
        secrets = {"SECRET": "s", "NATS_PASS": "s", "API_TOKEN": "s", "LOOMINAL_HOME": "/", "UNLENT": "s"}
        self.means = Means(
            allow=Allow(mechanisms=(Mechanism.SSH,), env=("LENT",), identity_files=(str(sshd.key),)),
            home=directory / "home",
            environ={**os.environ, **secrets, "LENT": "of weft"},
        )

    def driver(self) -> Ssh:
        return Ssh(self.means)

    def running(self, *command: str, cwd: str = "", **env: str) -> SshConfig:
        return SshConfig(
            host="127.0.0.1",
            user=self.sshd.user,
            port=self.sshd.port,
            known_hosts_file=str(self.sshd.known_hosts),
            command=command,
            cwd=cwd,
            env=env,
            connect_timeout_seconds=SOON,
        )

    def config(self) -> SshConfig:
        return self.running(*agent(self.folder))

    def broken(self) -> tuple[SshConfig, str]:
        return self.running("no-such-agent"), "there is no program 'no-such-agent'"

    def forbidden(self) -> tuple[Ssh, SshConfig]:
        return Ssh(replace(self.means, allow=Allow())), self.config()

    def started(self, launch: str) -> list[Got]:
        return agents(self.folder, launch)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    sshd = Sshd(tmp_path_factory.mktemp("sshd"))
    sshd.start()
    yield sshd
    sshd.stop()


@pytest.fixture
def place(tmp_path: Path, sshd: Sshd) -> Iterator[SshPlace]:
    """Yield a place, and leave nothing running there."""
    place = SshPlace(tmp_path, sshd)
    yield place
    launches = [path.name for path in place.launches.glob("*")] if place.launches.exists() else []
    for pid in (pid for launch in launches for pid in processes(launch)):
        os.kill(pid, signal.SIGKILL)


class TestSsh(RunsCommands):
    """All that is asked of a mechanism that runs commands."""

    async def test_it_outlives_every_connection(self, place: SshPlace) -> None:
        order = an_order()
        await place.driver().start(place.config(), order)
        await eventually(lambda: bool(place.started(order.launch)), SOON)

        place.sshd.cut()

        assert (await place.driver().look(place.config(), order.launch, "")).condition is Condition.RUNNING

    async def test_a_connection_that_is_lost_in_between_leaves_the_start_unconfirmed_and_one_agent(
        self, place: SshPlace
    ) -> None:
        order, config = an_order(), place.config()
        starting = asyncio.create_task(place.driver().start(config, order))
        await eventually((place.launches / order.launch / "keeper").exists, SOON)
        place.sshd.cut()

        with pytest.raises(Unconfirmed):
            await starting

        async def there() -> bool:
            return (await place.driver().look(config, order.launch, "")).condition is Condition.RUNNING

        await eventually(lambda: bool(place.started(order.launch)), SOON)
        await eventually(there, SOON)
        await place.driver().start(config, order)
        assert len(place.started(order.launch)) == 1

    async def test_its_enrolment_is_in_nobodys_environment(self, place: SshPlace) -> None:
        order = an_order()
        await place.driver().start(place.config(), order)

        await eventually(lambda: len(processes(order.launch)) == 1, SOON)
        [pid] = processes(order.launch)
        assert b"LOOMINAL_ENROLMENT=-" in told_by_kernel(pid, "environ").split(b"\0")


async def failing(place: SshPlace, config: SshConfig) -> str:
    """Return why nothing can be started, which is also why nothing can be looked at or ended."""
    why = []
    with pytest.raises(StartFailed) as failed:
        await place.driver().start(config, an_order())
    why.append(failed.value.message)
    with pytest.raises(StartFailed) as failed:
        await place.driver().check(config)
    why.append(failed.value.message)
    with pytest.raises(Unreachable) as unreachable:
        await place.driver().look(config, "l_1", "")
    why.append(unreachable.value.message)
    with pytest.raises(Unreachable) as unreachable:
        await place.driver().stop(config, "l_1", "", grace_seconds=1)
    why.append(unreachable.value.message)
    assert len(set(why)) == 1, why
    return why[0]


async def test_each_way_of_failing_has_a_word_of_its_own(place: SshPlace, tmp_path: Path) -> None:
    config = place.config()
    where = f"127.0.0.1:{place.sshd.port}"
    (tmp_path / "nobody").touch()
    other_key = tmp_path / "other"
    make_key(other_key)
    changed = tmp_path / "changed"
    kind, key, *_ = other_key.with_suffix(".pub").read_text().split()
    changed.write_text(f"[127.0.0.1]:{place.sshd.port} {kind} {key}\n")
    place.means = replace(
        place.means, allow=replace(place.means.allow, identity_files=(str(place.sshd.key), str(other_key)))
    )
    with socket.socket() as deaf, socket.socket() as closed:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        closed.bind(("127.0.0.1", 0))
        failures = {
            f"the host key of {where} is not known": replace(config, known_hosts_file=str(tmp_path / "nobody")),
            f"{where} shows another host key than the known one": replace(config, known_hosts_file=str(changed)),
            f"{where} does not let {config.user} in with this key": replace(config, identity_file=str(other_key)),
            f"nothing listens at 127.0.0.1:{closed.getsockname()[1]}": replace(config, port=closed.getsockname()[1]),
            "255.255.255.255:22 cannot be reached": replace(config, host="255.255.255.255", port=22),
            "there is no host nowhere.invalid": replace(config, host="nowhere.invalid"),
            f"127.0.0.1:{deaf.getsockname()[1]} takes connections and then says nothing": replace(
                config, port=deaf.getsockname()[1], connect_timeout_seconds=1
            ),
            "there is no file of known hosts '/no/such/file'": replace(config, known_hosts_file="/no/such/file"),
        }

        found = await asyncio.gather(*(failing(place, each) for each in failures.values()))

    assert found == list(failures)
    assert not place.launches.exists() or not list(place.launches.glob("l_1"))
    with pytest.raises(StartFailed, match="ended at once, exit code 7"):
        await place.driver().start(place.running("/bin/sh", "-c", "exit 7"), an_order())


@pytest.mark.parametrize(
    ("program", "said"),
    [("sleep 600", r"gave \w+ no shell within 10.5 s"), ("yes", r"gives \w+ no shell: y")],
    ids=["hangs", "floods"],
)
async def test_what_is_no_shell_is_given_up(
    place: SshPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, said: str
) -> None:
    monkeypatch.setattr("loominal.weft.mechanisms.ssh.LOGIN_SECONDS", 0.5)
    sshd = Sshd(tmp_path / "hanging")
    sshd.force_command = program
    sshd.start()
    try:
        hanging = SshPlace(tmp_path / "hanging", sshd)
        config = replace(hanging.config(), connect_timeout_seconds=10)

        with pytest.raises(StartFailed, match=said):
            await hanging.driver().start(config, an_order())
    finally:
        sshd.stop()


async def test_only_keys_that_the_machines_owner_allows_are_used(place: SshPlace, tmp_path: Path) -> None:
    stray = tmp_path / "stray"
    make_key(stray)
    with pytest.raises(Forbidden, match="may not use the key"):
        await place.driver().start(replace(place.config(), identity_file=str(stray)), an_order())

    none = replace(place.means, allow=Allow(mechanisms=(Mechanism.SSH,)))
    with pytest.raises(Forbidden, match="has no key for ssh"):
        await Ssh(none).start(place.config(), an_order())

    own = replace(none, own_keys=True)
    with pytest.raises(Forbidden, match="may not use the key"):
        await Ssh(own).check(replace(place.config(), identity_file=str(place.sshd.key)))


async def test_what_is_no_plain_path_is_not_told_to_ssh(place: SshPlace, tmp_path: Path) -> None:
    for name in ('a"b', "%h", "${HOME}", "a\\b", "a'b"):
        (tmp_path / name).touch()
        with pytest.raises(StartFailed, match="cannot be the file of known hosts"):
            await place.driver().check(replace(place.config(), known_hosts_file=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("host", ("-oProxyCommand=touch x", "a b", "a;b", "a@b", "$(touch x)", "a:22/", "a\n", "")),
        ("user", ("-l", "a b", "a;b", "a@b", "$(touch x)", "a\n", "")),
        ("port", (0, 65536, -1, "22", 1.5)),
        ("cwd", ("a\nb", "a\0b", "a\n")),
        ("knownHostsFile", ("a\nb", "a\n")),
        ("env", ({"A B": ""}, {"A;B": ""}, {"LD_PRELOAD": ""}, {"PATH": ""}, {"A=B": ""}, {"": ""}, {"A": "\0"})),
        ("command", ((), ("-x",), ("a\0b",))),
    ],
)
def test_hostile_values_are_refused_before_they_get_here(field: str, values: tuple[object, ...]) -> None:
    for value in values:
        config = {"host": "h", "user": "u", "command": ["c"], field: value}

        with pytest.raises(InvalidArgument, match=r"^config"):
            checked_config(Mechanism.SSH, msgspec.json.encode(config))


def test_it_is_in_the_table() -> None:
    assert MECHANISMS[Mechanism.SSH] is Ssh
