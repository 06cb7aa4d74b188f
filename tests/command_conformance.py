"""What mechanisms that run a command have to do besides: `local` here, `ssh` on another machine."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from loominal.model.errors import StartFailed
from loominal.model.launch import OUTPUT_BYTES, Condition, Seen
from loominal.model.mechanism import LocalConfig, SshConfig
from tests.integration.conftest import eventually
from tests.mechanism_conformance import Got, Place, SeesAgents, StartsAgents, an_order
from tests.patience import SOON

AGENT = """
enrolment=$LOOMINAL_ENROLMENT
[ "$enrolment" != - ] || read -r enrolment
printf '%s %s\\n' "$LOOMINAL_LAUNCH" "$enrolment" >>"$1"
exec sleep 600
"""
HOSTILE = (
    "",
    "two words",
    "it's",
    'say "hi"',
    "$(touch {flag})",
    "`touch {flag}`",
    "; touch {flag}",
    "&& touch {flag}",
    "| touch {flag}",
    "\ntouch {flag}\n",
    "' ; touch {flag} #",
    "'\\''; touch {flag}",
    "-oProxyCommand=touch {flag}",
    "--",
    "A=b",
    "$HOME ${HOME} ~ * ? [a] {a,b} ! \\ \\n %s %h",
    "\t\x01\x1b[31m\x7f\r",
    "äöü ā \U0001f9f5 \u2028",
    "\nend of a line\nLOOMINAL_LAUNCH=l_other\n",
)


class CommandPlace(Place, Protocol):
    """A place where commands can be run at will, and their files seen."""

    folder: Path  # a new one, for whatever the commands write
    launches: Path  # where the mechanism keeps what it has to

    def running(self, *command: str, cwd: str = "", **env: str) -> LocalConfig | SshConfig:
        """Return a config that runs `command` there."""


def agent(folder: Path) -> tuple[str, ...]:
    """Return the command of an agent that writes what it has got."""
    return ("/bin/sh", "-c", AGENT, "agent", str(folder / "agents"))


def agents(folder: Path, launch: str) -> list[Got]:
    """Return what the agents of `launch` have written."""
    file = folder / "agents"
    lines = [line.split(" ") for line in file.read_text().splitlines()] if file.exists() else []
    return [Got(launch=each, enrolment=enrolment) for each, enrolment in lines if each == launch]


def processes(launch: str) -> list[int]:
    """Return what runs of a launch."""
    return [
        pid for pid in _pids() if f"LOOMINAL_LAUNCH={launch}".encode() in told_by_kernel(pid, "environ").split(b"\0")
    ]


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def told_by_kernel(pid: int, name: str) -> bytes:
    """Return a file of /proc/PID; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


class RunsCommands(StartsAgents, SeesAgents):
    """Of mechanisms that run a command."""

    async def test_hostile_words_variables_and_folders_arrive_as_they_are(self, place: CommandPlace) -> None:
        flag = place.folder / "executed"
        values = [value.replace("{flag}", str(flag)) for value in HOSTILE]
        folder = place.folder / 'it\'s $(touch executed) "a\\b" ; \n*'
        folder.mkdir()
        show = 'printf "%s\\0" "$@" >words && env -0 >variables && pwd -P >place; exec sleep 600'
        config = place.running(
            *("/bin/sh", "-c", show, *values),
            cwd=str(folder),
            **{f"V{number}": value for number, value in enumerate(values)},
            launch="x", nonce="x", enrolment="x", home="x", HOME_="x",
        )  # fmt: skip
        order = an_order()

        await place.driver().start(config, order)

        await eventually((folder / "place").exists, SOON)
        await eventually(lambda: (folder / "place").read_text() == f"{folder}\n", SOON)
        assert (folder / "words").read_bytes().decode().split("\0")[:-1] == values[1:]  # the first is the shell's $0
        got = _variables((folder / "variables").read_bytes())
        assert [got[f"V{number}"] for number in range(len(values))] == values
        assert {got[name] for name in ("launch", "nonce", "enrolment", "home")} == {"x"}
        assert got["LOOMINAL_LAUNCH"] == order.launch
        assert not flag.exists()
        assert not (folder / "executed").exists()
        assert (await place.driver().look(config, "l_other", "")).condition is Condition.GONE

    async def test_what_cannot_be_run_is_told(self, place: CommandPlace) -> None:
        cases = (
            (("no-such-program",), "", "there is no program 'no-such-program'"),
            (("/no/such/program",), "", "there is no program '/no/such/program'"),
            (("/etc/passwd",), "", "'/etc/passwd' cannot be executed"),
            (("/etc",), "", "'/etc' cannot be executed"),
            (("",), "", "there is no program ''"),
            (("sleep", "60"), "/no/such/folder", "the working directory '/no/such/folder' cannot be entered"),
            (("sleep", "60"), "-", "the working directory '-' cannot be entered"),
        )

        async def told(command: tuple[str, ...], cwd: str, why: str) -> None:
            config, order = place.running(*command, cwd=cwd), an_order()
            for _ in range(2):  # the same order is answered the same
                with pytest.raises(StartFailed, match=re.escape(why)):
                    await place.driver().start(config, order)
            with pytest.raises(StartFailed, match=re.escape(why)):
                await place.driver().check(config)

        await asyncio.gather(*(told(*case) for case in cases))
        with pytest.raises(StartFailed, match="'if' ended at once, exit code 127"):
            await place.driver().start(place.running("if"), an_order())

    async def test_one_that_ends_at_once_has_not_started_and_its_output_is_told(self, place: CommandPlace) -> None:
        shout = f"echo to stdout; echo to stderr >&2; seq 100000; echo {an_order().enrolment}; exit 7"
        config, order = place.running("/bin/sh", "-c", shout), an_order()

        for _ in range(2):
            with pytest.raises(StartFailed, match="ended at once, exit code 7") as caught:
                await place.driver().start(config, order)
            assert len(caught.value.output.encode()) <= OUTPUT_BYTES
            assert caught.value.output.endswith("\n99999\n100000\n[enrolment]\n")

    async def test_its_exit_code_and_the_end_of_its_output_are_kept(self, place: CommandPlace) -> None:
        go = place.folder / "go"
        config = place.running("/bin/sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done; seq 200000; exit 3")
        order = an_order()
        reference = await place.driver().start(config, order)
        go.touch()

        seen = await ended(place, config, order.launch)

        assert (seen.exit_code, seen.detail, seen.reference) == (3, "exit code 3", reference)
        assert seen.output.endswith("\n199999\n200000\n")
        assert len(seen.output.encode()) <= OUTPUT_BYTES
        [file] = place.launches.glob(f"{order.launch}/output")
        assert file.stat().st_size <= OUTPUT_BYTES  # it was over a megabyte
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    async def test_its_enrolment_is_in_no_file_and_not_in_what_is_shown(self, place: CommandPlace) -> None:
        order = an_order()
        config = place.running("/bin/sh", "-c", 'read -r line; echo "got $LOOMINAL_ENROLMENT$line"; exec sleep 600')
        await place.driver().start(config, order)

        async def printed() -> bool:
            shown = (await place.driver().look(config, order.launch, "")).output
            return shown in ("got [enrolment]\n", "got -[enrolment]\n")

        await eventually(printed, SOON)
        files = [path for path in place.launches.rglob("*") if path.is_file() and path.name != "output"]
        assert files
        assert not [path for path in files if order.enrolment in path.read_text(errors="replace")]

    async def test_it_knows_nothing_of_wefts_environment_but_where_it_is(self, place: CommandPlace) -> None:
        file = place.folder / "variables"
        show = f"env -0 >{file}.new; mv {file}.new {file}; exec sleep 600"
        config = place.running("/bin/sh", "-c", show, LENT="", UNLENT="", OWN="mine")

        await place.driver().start(config, an_order())

        await eventually(file.exists, SOON)
        got = _variables(file.read_bytes())
        assert (got["LENT"], got["UNLENT"], got["OWN"]) == ("of weft", "", "mine")
        assert not {"SECRET", "NATS_PASS", "LOOMINAL_HOME", "API_TOKEN"} & got.keys()

    async def test_it_is_a_session_of_its_own_with_signals_as_usual(self, place: CommandPlace) -> None:
        order = an_order()
        config = place.running("/bin/sleep", "600")
        reference = await place.driver().start(config, order)
        pid = int(reference.partition(":")[0])
        await eventually(lambda: processes(order.launch) == [pid], SOON)

        status = dict(line.split(":\t", 1) for line in told_by_kernel(pid, "status").decode().splitlines())

        assert os.getsid(pid) not in (os.getsid(0), os.getpid())
        assert os.getpgid(pid) != os.getpgid(0)
        ours = dict(line.split(":\t", 1) for line in told_by_kernel(os.getpid(), "status").decode().splitlines())
        usual = ~int(ours["SigIgn"], 16)  # a shell in whose background the tests run has SIGINT ignored, for good
        assert int(status["SigIgn"], 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1) & usual == 0
        assert int(status["SigBlk"], 16) == 0
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]  # noqa: PTH208 - not of a file system

    async def test_it_ends_in_order_and_what_it_has_started_is_its_own_to_end(self, place: CommandPlace) -> None:
        told, up = place.folder / "told", place.folder / "up"
        child = f'trap "echo child >>{told}" TERM; while :; do sleep 0.05; done'
        main = f"sh -c {shlex.quote(child)} & trap 'echo main >>{told}; kill -9 $!; exit 5' TERM; touch {up}; wait"
        config, order = place.running("/bin/sh", "-c", main), an_order()
        await place.driver().start(config, order)
        await eventually(up.exists, SOON)

        await place.driver().stop(config, order.launch, "", grace_seconds=SOON)

        assert told.read_text() == "main\n"
        assert (await ended(place, config, order.launch)).exit_code == 5
        assert processes(order.launch) == []

    async def test_one_that_will_not_end_is_ended_by_force_after_the_grace(self, place: CommandPlace) -> None:
        up = place.folder / "up"
        deaf = "trap '' TERM INT HUP"
        stubborn = f"{deaf}; (while :; do sleep 0.2; done) & touch {up}; while :; do sleep 0.2; done"
        config, order = place.running("/bin/sh", "-c", stubborn), an_order()
        await place.driver().start(config, order)
        await eventually(up.exists, SOON)

        await place.driver().stop(config, order.launch, "", grace_seconds=1)

        assert (await ended(place, config, order.launch)).detail == "exit code 137 (SIGKILL)"
        assert processes(order.launch) == []

    async def test_what_went_its_own_way_is_seen_and_ended(self, place: CommandPlace) -> None:
        daemon = "setsid sh -c 'trap \"\" HUP; (sleep 600 &) ; (setsid sleep 601 &) ; sleep 602' >/dev/null 2>&1 &"
        config, order = place.running("/bin/sh", "-c", f"{daemon} exit 0"), an_order()
        reference = await place.driver().start(config, order)
        await eventually(lambda: len(processes(order.launch)) == 4, SOON)

        seen = await place.driver().look(config, order.launch, reference)
        await place.driver().stop(config, order.launch, reference, grace_seconds=SOON)

        assert seen.condition is Condition.RUNNING  # though the command itself has ended
        assert processes(order.launch) == []
        assert (await ended(place, config, order.launch)).exit_code == 0

    async def test_what_was_asked_to_end_before_it_began_does_not_begin(self, place: CommandPlace) -> None:
        config, order = place.config(), an_order()
        await place.driver().stop(config, order.launch, "", grace_seconds=1)

        with pytest.raises(StartFailed, match="asked to end before it began"):
            await place.driver().start(config, order)

        assert (await place.driver().look(config, order.launch, "")).condition is Condition.GONE
        assert place.started(order.launch) == []


class MindsProcesses:
    """What does not depend on the way to the machine."""

    async def test_one_that_stands_still_is_ended_too(self, place: CommandPlace) -> None:
        config, order = place.running("/bin/sleep", "600"), an_order()
        reference = await place.driver().start(config, order)
        os.kill(int(reference.partition(":")[0]), signal.SIGSTOP)

        await place.driver().stop(config, order.launch, "", grace_seconds=0.2)

        assert processes(order.launch) == []

    async def test_one_that_clears_its_environment_is_seen_and_ended(self, place: CommandPlace) -> None:
        config, order = place.running("/usr/bin/env", "-i", "/bin/sleep", "600"), an_order()
        reference = await place.driver().start(config, order)

        assert (await place.driver().look(config, order.launch, "")).condition is Condition.RUNNING
        await place.driver().stop(config, order.launch, "", grace_seconds=SOON)

        assert (await ended(place, config, order.launch)).reference == reference
        assert told_by_kernel(int(reference.partition(":")[0]), "cmdline") == b""

    async def test_a_child_that_clears_its_environment_ends_with_it(self, place: CommandPlace) -> None:
        file = place.folder / "child"
        child = f"env -i sh -c 'echo $$ >{file}; exec sleep 600' & wait"
        config, order = place.running("/bin/sh", "-c", child), an_order()
        await place.driver().start(config, order)
        await eventually(lambda: file.exists() and file.read_text().endswith("\n"), SOON)

        await place.driver().stop(config, order.launch, "", grace_seconds=SOON)

        await eventually(lambda: told_by_kernel(int(file.read_text()), "cmdline") == b"", SOON)

    async def test_a_flood_is_soon_cut_though_nobody_looks(self, place: CommandPlace) -> None:
        flood = "head -c 3000000 /dev/zero | tr '\\0' x; exec sleep 600"
        order = an_order()
        await place.driver().start(place.running("/bin/sh", "-c", flood), order)

        output = place.launches / order.launch / "output"
        await eventually(lambda: 0 < output.stat().st_size <= OUTPUT_BYTES, SOON)

    async def test_one_whose_keeper_was_killed_is_still_found(self, place: CommandPlace) -> None:
        config, order = place.running("/bin/sleep", "600"), an_order()
        reference = await place.driver().start(config, order)
        keeper = (place.launches / order.launch / "keeper").read_text().partition(":")[0]
        os.kill(int(keeper), signal.SIGKILL)

        assert (await place.driver().look(config, order.launch, "")).condition is Condition.RUNNING
        assert await place.driver().start(config, order) == reference
        await place.driver().stop(config, order.launch, "", grace_seconds=SOON)

        seen = await ended(place, config, order.launch)
        assert (seen.exit_code, processes(order.launch)) == (None, [])

    async def test_variables_that_no_shell_lets_be_set_are_refused(self, place: CommandPlace) -> None:
        with pytest.raises(StartFailed, match="lets nobody set UID"):
            await place.driver().start(place.running("/bin/sleep", "600", UID="0"), an_order())


async def ended(place: CommandPlace, config: LocalConfig | SshConfig, launch: str) -> Seen:
    """Return what is seen of a launch once it has ended."""

    async def over() -> bool:
        return (await place.driver().look(config, launch, "")).condition is Condition.ENDED

    await eventually(over, SOON)
    return await place.driver().look(config, launch, "")


def _variables(printed: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in printed.decode().split("\0") if line)
    return {name: value for name, _, value in pairs}
