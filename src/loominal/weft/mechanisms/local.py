"""`local`: agents are processes of this machine, run by weft's own user, each in a session of its own.

They outlive weft. The enrolment is in their environment; their output is in `launches` below the fabric's home.
"""

from __future__ import annotations

from loominal.model.errors import StartFailed, Unreachable
from loominal.model.launch import Order, Seen
from loominal.model.mechanism import LocalConfig, Mechanism
from loominal.weft.mechanisms import launching
from loominal.weft.mechanisms.conversation import Answer, ask
from loominal.weft.mechanisms.launching import Channel, Deed, Script
from loominal.weft.mechanisms.means import Means

GREETING_SECONDS = 15.0  # for a shell to begin; long on a machine that is overloaded only


class Local:
    """Starts agents on this machine. The reference is "pid:start time" of the command."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._home = str(means.home.absolute())

    async def start(self, config: LocalConfig, order: Order) -> str:
        """Start the agent and return its reference once it has lived for half a second.

        Raises: StartFailed, Unconfirmed, Forbidden.
        """
        self._require_here(config)
        return await launching.start(self._ask, self._deed(config, order.launch, order.enrolment))

    async def look(self, config: LocalConfig, launch: str, reference: str) -> Seen:
        """Return where the agent of `launch` stands. Raises: Unreachable."""
        self._require_reach(config)
        return await launching.look(self._ask, launch, self._home)

    async def stop(self, config: LocalConfig, launch: str, reference: str, *, grace_seconds: float) -> None:
        """End the agent and all that it has started. Raises: Unreachable."""
        self._require_reach(config)
        await launching.stop(self._ask, launch, self._home, grace_seconds=grace_seconds)

    async def check(self, config: LocalConfig) -> str:
        """Return that the command can be started. Raises: StartFailed, Forbidden."""
        self._require_here(config)
        return f"{await launching.check(self._ask, self._deed(config))} on {self._means.host}"

    def _deed(self, config: LocalConfig, launch: str = "", enrolment: str = "") -> Deed:
        return Deed(
            launch=launch,
            home=self._home,
            command=config.command,
            cwd=config.cwd,
            variables=self._means.variables(config.env),
            channel=Channel.ENVIRONMENT,
            enrolment=enrolment,
        )

    def _require_here(self, config: LocalConfig) -> None:
        self._means.require(Mechanism.LOCAL)
        if not self._means.is_here(config.host):
            raise StartFailed(
                f"this target is for the machine {config.host}, and this weft runs on {self._means.host}",
                f"a weft on {config.host} can start it",
            )

    def _require_reach(self, config: LocalConfig) -> None:
        if not self._means.is_here(config.host):
            raise Unreachable(f"only a weft on {config.host} sees what runs there; this one is on {self._means.host}")

    async def _ask(self, script: Script) -> Answer:
        # setsid, being started as the leader of a group, leaves the shell to itself: nobody here has to wait for it
        arguments = ("setsid", "/bin/sh", "-s", script.title)
        try:
            answer = await ask(
                arguments,
                script.text,
                script.nonce,
                environ=self._means.environment(),
                greeting_seconds=GREETING_SECONDS,
                seconds=script.seconds,
            )
        except OSError as error:
            raise StartFailed(f"no shell can be run here: {error}", "`setsid` of util-linux is needed") from error
        if not answer.greeted:
            raise StartFailed("the shell of this machine did not answer", "is the machine overloaded?")
        return answer
