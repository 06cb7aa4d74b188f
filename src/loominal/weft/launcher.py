"""Starting agents for the hubs of this weft: by the mechanisms, as far as the machine's owner allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from loominal.fabric.addresses import Reach, from_elsewhere, from_here
from loominal.fabric.hub.spinup.launcher import WHERE_ALLOWED
from loominal.fabric.runtime_file import Mode, Runtime
from loominal.model.errors import Forbidden, InvalidArgument, StartFailed, Unreachable
from loominal.model.launch import Launch, Order, Seen
from loominal.model.mechanism import LocalConfig, Mechanism, SshConfig
from loominal.model.target import Target
from loominal.weft.mechanisms import MECHANISMS
from loominal.weft.mechanisms.interface import MechanismDriver
from loominal.weft.mechanisms.means import Means
from loominal.weft.weft_file import Allow

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OWN = Allow(mechanisms=(Mechanism.LOCAL, Mechanism.SSH, Mechanism.WEBHOOK))  # on a fabric of one's own, unless it says
NOTHING = Allow()


def allowed(asked: Allow | None, runtime: Runtime | None, mode: Mode) -> Allow:
    """Return what a weft may run: what its file says; without one a fabric of this machine alone has `OWN`.

    In open mode nothing is authenticated, and nothing is run.
    """
    if mode is Mode.OPEN:
        return NOTHING
    if asked is not None:
        return asked
    alone = mode is Mode.EMBEDDED and (runtime is None or not runtime.listen)
    return OWN if alone else NOTHING


class MechanismLauncher:
    """Starts agents by the mechanisms with the `means` that there are; `runtime` tells where the broker is."""

    def __init__(self, means: Means, runtime: Callable[[], Runtime | None], targets: tuple[Target, ...] = ()) -> None:
        self.targets = targets  # of weft's own file
        self._means = means
        self._runtime = runtime
        self._drivers: dict[Mechanism, MechanismDriver[Any]] = {}  # Any: each takes its own mechanism's config

    def refusal(self, target: Target) -> str:
        """Return why this weft may not use `target` at all (it completes "the target is …"); "" if it may."""
        if why := self._refused(target.mechanism):
            return why
        try:
            settings = target.settings
        except InvalidArgument as error:  # of another release
            return f"not understood here: {error.message}"
        if isinstance(settings, LocalConfig) and not self._means.is_here(settings.host):
            return f"on the machine {settings.host}, not here"
        return ""

    def reach(self, target: Target) -> Reach:
        """Return how an agent on `target` reaches the broker. Raises: Forbidden if it cannot."""
        runtime = self._runtime()
        if runtime is None:
            raise Forbidden("nobody knows yet where the broker is", "it is tried again")
        settings = target.settings
        here = isinstance(settings, LocalConfig) or (isinstance(settings, SshConfig) and settings.host in LOOPBACK)
        if here or (target.mechanism is Mechanism.WEBHOOK and not runtime.listen and runtime.mode is Mode.EMBEDDED):
            return from_here(runtime)
        return from_elsewhere(runtime)

    async def start(self, target: Target, order: Order) -> str:
        """Start the agent and return what the mechanism calls it. Raises: StartFailed, Unconfirmed, Forbidden."""
        self._require(target)
        return await self._driver(target).start(target.settings, order)

    def config(self, target: Target) -> msgspec.Raw:
        """Return the config of `target`; a `local` one that names no machine is for this one, whoever leads later."""
        settings = target.settings
        if isinstance(settings, LocalConfig) and not settings.host:
            settings = msgspec.structs.replace(settings, host=self._means.machine)
        return msgspec.Raw(msgspec.json.encode(settings))

    async def look(self, launch: Launch) -> Seen:
        """Return where the agent of `launch` stands. Raises: Unreachable."""
        try:
            return await self._driver(launch).look(launch.settings, launch.id, launch.reference)
        except (Forbidden, InvalidArgument, StartFailed) as error:
            raise Unreachable(error.message, error.hint) from error

    async def stop(self, launch: Launch, *, grace_seconds: float) -> None:
        """End the agent and all it has started. Raises: Unreachable."""
        try:
            await self._driver(launch).stop(launch.settings, launch.id, launch.reference, grace_seconds=grace_seconds)
        except (Forbidden, InvalidArgument, StartFailed) as error:
            raise Unreachable(error.message, error.hint) from error

    async def check(self, target: Target) -> str:
        """Return in one line what is in order. Raises: StartFailed with what is not, Forbidden."""
        self._require(target)
        return await self._driver(target).check(target.settings)

    def _require(self, target: Target) -> None:
        if why := self.refusal(target):
            raise Forbidden(f"target {target.name} is {why}", WHERE_ALLOWED)

    def _refused(self, mechanism: str) -> str:
        if mechanism not in MECHANISMS:
            return f"of the mechanism {mechanism}, which this release does not have"
        if mechanism not in self._means.allow.mechanisms:
            allowing = f'`[allow]`, `mechanisms = ["{mechanism}"]`'
            return (
                f"of the mechanism {mechanism}, which this weft may use only once its weft.toml allows it: {allowing}"
            )
        return ""

    def _driver(self, of: Target | Launch) -> MechanismDriver[Any]:
        if why := self._refused(of.mechanism):
            raise Forbidden(f"it is {why}", WHERE_ALLOWED)
        mechanism = Mechanism(of.mechanism)
        if mechanism not in self._drivers:
            self._drivers[mechanism] = MECHANISMS[mechanism](self._means)
        return self._drivers[mechanism]
