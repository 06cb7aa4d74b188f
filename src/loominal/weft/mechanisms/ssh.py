"""`ssh`: agents are processes of another machine, started over SSH with the keys that this machine's owner allows.

They do not depend on the connection. The enrolment is the first line of their standard input; their output is in
`launches` where the user there keeps Loominal's state. Nothing has to be installed there but the agent.
"""

from __future__ import annotations

import re

from loominal.model.errors import StartFailed
from loominal.model.launch import Order, Seen
from loominal.model.mechanism import Mechanism, SshConfig
from loominal.model.names import one_line
from loominal.weft.mechanisms import launching
from loominal.weft.mechanisms.conversation import Answer, ask
from loominal.weft.mechanisms.launching import Ask, Channel, Deed, Script
from loominal.weft.mechanisms.means import Means
from loominal.weft.mechanisms.ssh_arguments import arguments, environment, known_hosts

LOGIN_SECONDS = 10.0  # beyond the time to connect: to be let in, and for the shell there to begin
FAILURES = (  # what ssh prints, what that means, what to do about it
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{place} shows another host key than the known one",
        "if the machine was set up anew, take the old key out of {known}; if not, somebody stands between",
    ),
    (
        "requested strict checking|Host key verification failed",
        "the host key of {place} is not known",
        "add it to {known}, after comparing it with the machine's own",
    ),
    (
        "UNPROTECTED|bad permissions|Load key",
        "the private key cannot be used",
        "it has to be one of OpenSSH's, without a passphrase, with mode 0600",
    ),
    (
        "Permission denied|Too many authentication failures",
        "{place} does not let {user} in with this key",
        "its public half has to be in the authorized_keys there; a key with a passphrase cannot be used",
    ),
    ("Connection refused", "nothing listens at {place}", "does sshd run there, and is this its port?"),
    ("Could not resolve hostname", "there is no host {host}", "is the name right?"),
    (
        "No route to host|is unreachable|Host is down|connect to host .* timed out",
        "{place} cannot be reached",
        "does the network lead there, and does the machine run?",
    ),
    ("timed out", "{place} takes connections and then says nothing", "does sshd listen there?"),
)


class Ssh:
    """Starts agents on other machines. The reference is "pid:start time" of the command there."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def start(self, config: SshConfig, order: Order) -> str:
        """Start the agent and return its reference once it has lived for half a second.

        Raises: StartFailed, Unconfirmed, Forbidden.
        """
        self._means.require(Mechanism.SSH)
        return await launching.start(self._asking(config), self._deed(config, order.launch, order.enrolment))

    async def look(self, config: SshConfig, launch: str, reference: str) -> Seen:
        """Return where the agent of `launch` stands. Raises: Unreachable."""
        return await launching.look(self._asking(config), launch)

    async def stop(self, config: SshConfig, launch: str, reference: str, *, grace_seconds: float) -> None:
        """End the agent and all that it has started there. Raises: Unreachable."""
        await launching.stop(self._asking(config), launch, grace_seconds=grace_seconds)

    async def check(self, config: SshConfig) -> str:
        """Return that the machine lets us in and has the command. Raises: StartFailed, Forbidden."""
        self._means.require(Mechanism.SSH)
        return f"{await launching.check(self._asking(config), self._deed(config))} on {_place(config)}"

    def _deed(self, config: SshConfig, launch: str = "", enrolment: str = "") -> Deed:
        return Deed(
            launch=launch,
            command=config.command,
            cwd=config.cwd,
            variables=self._means.variables(config.env),
            channel=Channel.STDIN,
            enrolment=enrolment,
        )

    def _asking(self, config: SshConfig) -> Ask:
        async def asked(script: Script) -> Answer:
            greeting_seconds = config.connect_timeout_seconds + LOGIN_SECONDS
            try:
                answer = await ask(
                    arguments(config, self._means, script.title),
                    script.text,
                    script.nonce,
                    environ=environment(self._means),
                    greeting_seconds=greeting_seconds,
                    seconds=script.seconds,
                )
            except OSError as error:
                raise StartFailed(f"ssh cannot be run here: {error}", "install OpenSSH's client") from error
            if not answer.greeted:
                raise _failure(config, answer, greeting_seconds)
            return answer

        return asked


def _failure(config: SshConfig, answer: Answer, seconds: float) -> StartFailed:
    """Return why there is no shell."""
    names = {
        "place": _place(config),
        "host": config.host,
        "user": config.user,
        "known": known_hosts(config),
    }
    for pattern, message, hint in FAILURES:
        if re.search(pattern, answer.errors):
            return StartFailed(message.format(**names), hint.format(**names))
    if answer.overdue:
        return StartFailed(f"{names['place']} gave {config.user} no shell within {seconds:g} s", "is it overloaded?")
    said = one_line((answer.errors.strip() or answer.output.strip()).rpartition("\n")[2])
    return StartFailed(f"{names['place']} gives {config.user} no shell: {said or 'it says nothing'}", "try ssh by hand")


def _place(config: SshConfig) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{host}:{config.port}"
