"""The supervisor: starts the embedded broker and weft, starts again whichever dies, and ends both in order.

Run by `loominal up` while it holds the home's lock. SIGUSR1 makes it restart the broker: weft asks for that after the
disk was full, because a stream that met a full disk stays dead until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import loominal
from loominal.broker.certificates import certificates, ensure_certificates, is_fit
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings, store_limit_bytes
from loominal.fabric.runtime_file import (
    Mode,
    Runtime,
    machine_credential_path,
    read_runtime,
    remove_runtime,
    update_runtime,
)
from loominal.local.home import idle_exit_seconds, is_free, new_port, read_config, tls_directory, weft_variables
from loominal.local.lending import lent_variables
from loominal.local.listening import certified
from loominal.local.processes import TERM_SECONDS, broker_directory, end, running, weft_command
from loominal.local.weft_api import in_use, not_ready
from loominal.model.errors import BrokerUnavailable, InvalidArgument, LoominalError
from loominal.model.names import handle_like

READY_SECONDS = 30.0
LOOK_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.2  # before a child that died is started again; doubled up to LAST_PAUSE_SECONDS
LAST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0  # a child that lived so long makes the next pause the first one again
CERTIFICATE_LOOK_SECONDS = 600.0  # between two looks whether the broker's certificate is still right
IDLE_LOOK_SECONDS = 30.0  # between two looks whether the fabric is in use
LAST_LOOK_SECONDS = 5.0  # for those who found an idle fabric at the last moment to say hello
HOPELESS = 4  # failures before the fabric ever served: what is wrong will stay wrong
LOG_BYTES = 10_000_000  # a longer weft.log is moved aside at weft's next start
RESTART_BROKER = signal.SIGUSR1
PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "SSH_AUTH_SOCK")
NOT_PASSED_ON = ("LOOMINAL_AGENT_ID", "LOOMINAL_HANDLE", "LOOMINAL_ENROLMENT")  # one agent's own

log = logging.getLogger("loominal.supervisor")


class Supervisor:
    """Keeps one home's fabric running: broker and weft; with `foreign_url`, somebody else's broker, weft alone."""

    def __init__(self, home: Path, environ: Mapping[str, str], foreign_url: str) -> None:
        self._home = home
        self._environ = child_environment(environ, foreign=bool(foreign_url))
        self._foreign_url = foreign_url
        self._url = ""  # of the broker, once it ran
        self._broker_up = asyncio.Event()
        self._restart_broker = asyncio.Event()
        self._moved = asyncio.Event()  # the broker has another address than weft knows
        self._stop = asyncio.Event()
        self._trouble = ""  # why a child is not running
        self._failures = 0  # of children since the start

    async def run(self, announce: Callable[[], None], *, patient: bool) -> None:
        """Run the fabric until a signal ends it; `announce` is called once it serves.

        Raises: BrokerUnavailable with the reason if it does not serve within 30 s, unless it is to be `patient`.
        """
        self._listen_to_signals()
        for process in running(self._home):
            log.warning("ending the %s (pid %d) that an earlier supervisor left", process.what, process.pid)
            await asyncio.to_thread(end, self._home, process)
        run_broker = self._foreign_broker if self._foreign_url else self._prepared()
        try:
            async with asyncio.TaskGroup() as group:
                broker = group.create_task(self._again(run_broker), name="broker")
                weft = group.create_task(self._again(self._weft), name="weft")
                idle = group.create_task(self._stop_when_idle(), name="idle")
                try:
                    failure = await self._serve(announce, patient=patient)
                finally:
                    idle.cancel()
                    weft.cancel()
                    await asyncio.wait([weft])  # before the broker goes, so that it can still store and answer
                    broker.cancel()
        finally:
            remove_runtime(self._home)
        if failure:
            raise BrokerUnavailable(failure, f"the logs are in {self._home / 'logs'}")

    async def _serve(self, announce: Callable[[], None], *, patient: bool) -> str:
        """Return when a signal came, or why the fabric does not serve after 30 s or several failures of a child."""
        reasons: list[str] = []
        try:
            async with asyncio.timeout(None if patient else READY_SECONDS):
                while not self._stop.is_set() and (reasons := await asyncio.to_thread(not_ready, self._home)):
                    if self._failures >= HOPELESS and not patient:
                        return self._trouble
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return f"not ready after {READY_SECONDS:g} s: {self._trouble or '; '.join(reasons)}"
        if not self._stop.is_set():
            announce()
        await self._stop.wait()
        return ""

    async def _again(self, run: Callable[[], Awaitable[str]]) -> None:
        """Run a child, again and again, with growing pauses while it does not live long."""
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                self._trouble = await run()
            except LoominalError as error:
                self._trouble = error.message
            self._failures += 1
            log.warning("%s", self._trouble)
            if loop.time() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _stop_when_idle(self) -> None:
        """Stop once nobody has used the fabric for as long as `up --idle-exit` said, if it did."""
        loop = asyncio.get_running_loop()
        used_at = loop.time()
        while True:
            seconds = idle_exit_seconds(self._home)
            await asyncio.sleep(min(IDLE_LOOK_SECONDS, (seconds or IDLE_LOOK_SECONDS) / 4))
            if seconds is None or await asyncio.to_thread(in_use, read_runtime(self._home)):
                used_at = loop.time()
            elif loop.time() - used_at >= seconds and await self._is_left():
                log.info("nobody has used the fabric for %g s: it ends", seconds)
                self._stop.set()

    async def _is_left(self) -> bool:
        """Let nobody find the fabric any more, and return whether those who had found it do not use it either."""
        runtime = read_runtime(self._home)
        remove_runtime(self._home)
        await asyncio.sleep(LAST_LOOK_SECONDS)
        if runtime is None or not await asyncio.to_thread(in_use, runtime):
            return True
        update_runtime(self._home, lambda written: written or runtime)
        return False

    def _prepared(self) -> Callable[[], Awaitable[str]]:
        """Return what runs the embedded broker once, with the keys and the local user's credential in place."""
        keys, credential_file = self._home / "keys", machine_credential_path(self._home)
        fresh = not (keys / "operator.json").exists()
        keyring = Keyring.open(keys)
        if fresh or not _is_ours(credential_file, keyring):
            keyring.machine_credential(handle_like(socket.gethostname())[:40]).write(credential_file)
        return lambda: self._broker(keyring)

    async def _broker(self, keyring: Keyring) -> str:
        """Run the embedded broker until it ends or is to be restarted, and return what happened."""
        self._restart_broker.clear()
        settings, ca = self._broker_settings(keyring)
        async with EmbeddedServer(settings) as server:
            log.info("the broker runs (pid %d) at %s", server.pid, server.url)
            self._say(server.url, server.pid, ca, settings.host if ca else "")
            self._broker_up.set()
            try:
                over = await _first(self._restart_broker.wait(), server.wait(), self._outdated())
            finally:
                self._broker_up.clear()
        return ("the broker is restarted, as it was asked", "the broker ended", "the broker needs another certificate")[
            over
        ]

    def _broker_settings(self, keyring: Keyring) -> tuple[ServerSettings, str]:
        """Return how the broker is to run, and the certificates it is checked against ("" on loopback, plain)."""
        directory = broker_directory(self._home)
        directory.mkdir(mode=0o700, exist_ok=True)
        settings = ServerSettings(
            directory=directory, port=0, keyring=keyring, max_file_bytes=store_limit_bytes(directory)
        )
        config = read_config(self._home)
        if config is None or not config.listen:
            port = config.broker_port if config and is_free(config.broker_port) else new_port(self._home, self._environ)
            return msgspec.structs.replace(settings, port=port), ""
        made = ensure_certificates(tls_directory(self._home), certified(config.listen), datetime.now(UTC))
        listens = msgspec.structs.replace(
            settings, host=config.listen, port=config.broker_port, certificate=made.server
        )  # the port stays even if somebody has taken it: other machines know no other
        return listens, str(made.ca)

    async def _outdated(self) -> None:
        """Return when the broker's certificate is near its end or lacks an address that this machine has now."""
        found = certificates(tls_directory(self._home))
        while True:
            await asyncio.sleep(CERTIFICATE_LOOK_SECONDS)
            config = read_config(self._home)
            if config and config.listen and not is_fit(found, certified(config.listen), datetime.now(UTC)):
                return

    async def _foreign_broker(self) -> str:
        """Say in the runtime file where somebody else's broker is."""
        self._say(self._foreign_url, 0, "")
        self._broker_up.set()
        await asyncio.Event().wait()
        return ""

    async def _weft(self) -> str:
        """Run weft until it ends, or the broker has moved, and return what happened."""
        await self._broker_up.wait()
        self._moved.clear()
        log_path = self._home / "logs" / "weft.log"
        if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
            log_path.replace(log_path.with_suffix(".log.1"))
        with log_path.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *weft_command(self._home),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._home,
                env=self._environ | {"LOOMINAL_SUPERVISOR": str(os.getpid())}, start_new_session=True,
            )  # fmt: skip
        log.info("weft runs (pid %d)", process.pid)
        try:
            if await _first(self._moved.wait(), process.wait()) == 0:
                return "weft is restarted, as the broker has another address now"
        finally:
            await _end(process)
        return f"weft ended with exit code {process.returncode}: {_last_line(log_path)}"

    def _say(self, url: str, nats_pid: int, ca: str, listen: str = "") -> None:
        """Write the runtime file; what weft has said in it stays while the broker's address does."""
        fresh = Runtime(
            mode=Mode(self._environ.get("LOOMINAL_MODE") or Mode.OPEN) if self._foreign_url else Mode.EMBEDDED,
            url=url,
            nats_pid=nats_pid,
            supervisor_pid=os.getpid(),
            started_at=datetime.now(UTC),
            version=loominal.__version__,
            ca=ca,
            listen=listen,
        )

        def changed(runtime: Runtime | None) -> Runtime:
            if runtime is None or runtime.supervisor_pid != os.getpid():
                return fresh
            told = msgspec.structs.replace(runtime, url=url, nats_pid=nats_pid, ca=ca, listen=listen)
            if runtime.url == url:
                return told
            return msgspec.structs.replace(told, api_url="", api_certificate="", token_file="")  # weft starts anew

        update_runtime(self._home, changed)
        if self._url not in ("", url):
            self._moved.set()
        self._url = url

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(RESTART_BROKER, self._restart_broker.set)


def child_environment(environ: Mapping[str, str], *, foreign: bool) -> dict[str, str]:
    """Return what children see of `environ`: of the starter's secrets what `weft.toml` lends to targets alone.

    NATS_* only for a foreign broker.
    """
    prefixes = ("LOOMINAL_", "LC_", "NATS_") if foreign else ("LOOMINAL_", "LC_")
    passed = {
        name: value
        for name, value in environ.items()
        if (name in PASSED_ON or name.startswith(prefixes)) and name not in NOT_PASSED_ON
    }
    if path := passed.get("PYTHONPATH"):  # children run in another directory
        passed["PYTHONPATH"] = os.pathsep.join(str(Path(place).absolute()) for place in path.split(os.pathsep))
    return passed | weft_variables(environ) | lent_variables(environ)


async def _first(*waiting: Coroutine[object, object, object]) -> int:
    """Return the place of the one that is over first; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(place for place, task in enumerate(tasks) if task.done())
    finally:
        for task in tasks:
            task.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a child, by force when it takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), TERM_SECONDS)


def _is_ours(credential_file: Path, keyring: Keyring) -> bool:
    """Return whether the file holds a credential of this fabric: one that the machine joined may have left its own."""
    try:
        return Credential.read(credential_file).account == keyring.fabric_public
    except InvalidArgument:  # missing or damaged: a new one is as good
        return False


def _last_line(log_path: Path) -> str:
    return (log_path.read_bytes()[-2000:].decode(errors="replace").strip().splitlines() or ["it logged nothing"])[-1]
