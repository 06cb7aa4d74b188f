"""A real sshd on loopback: with a host key, a user key and a home of its own, and nothing of this machine's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.patience import SOON
from tests.ports import free_port

PRIVILEGE_SEPARATION = Path("/run/sshd")  # where root's sshd confines itself; a service would have made it


class Sshd:
    """One sshd; who logs in with `key` is the user of this process, whose home is `home`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.home = directory / "far home"
        self.key = directory / "key"
        self.known_hosts = directory / "known hosts"
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.force_command = ""  # in place of every shell
        self._directory = directory
        self._host_key = directory / "host_key"
        self._process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        make_key(self.key)
        make_key(self._host_key)
        self.know(self._host_key)
        (directory / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())

    def know(self, host_key: Path) -> None:
        """Have clients take `host_key` for this host's."""
        kind, key, *_ = host_key.with_suffix(".pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")
        assert program, "sshd is missing: apt install openssh-server, or what it is called elsewhere"
        if os.getuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        config = self._directory / "sshd_config"
        config.write_text(self._config())
        with (self._directory / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=log)
        until = time.monotonic() + SOON
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < until, "sshd takes no connections"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, with every connection that it has."""
        if self._process is None:
            return
        for pid in [*self._connections(), self._process.pid]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def cut(self) -> int:
        """End every connection, and return how many processes served one."""
        served = self._connections()
        for pid in served:
            os.kill(pid, signal.SIGKILL)
        return len(served)

    def log(self) -> str:
        """Return what it has logged."""
        return (self._directory / "sshd.log").read_text()

    def _connections(self) -> list[int]:
        """Return the sshd processes below this one: those whose program is sshd."""
        assert self._process is not None
        below, found = [self._process.pid], []
        while below:
            children = _children(below.pop())
            served = [pid for pid in children if _name(pid).startswith("sshd")]
            found += served
            below += served
        return found

    def _config(self) -> str:
        variables = {"HOME": self.home, "XDG_STATE_HOME": self.home / "state"}
        said = " ".join(f'"{name}={value}"' for name, value in variables.items())
        return "\n".join(
            (
                f"ListenAddress 127.0.0.1:{self.port}",
                f"HostKey {self._host_key}",
                f"AuthorizedKeysFile {self._directory}/authorized_keys",
                "PidFile none",
                "StrictModes no",  # temporary directories are everybody's to write
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin prohibit-password",
                "MaxStartups 100",
                f"SetEnv {said}",
                f"ForceCommand {self.force_command}" if self.force_command else "",
                "LogLevel VERBOSE",
                "",
            )
        )

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def make_key(path: Path) -> None:
    """Make a key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
