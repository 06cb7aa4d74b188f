"""What of this machine the mechanisms may use: given to each when weft makes it; never more than its owner allows."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from loominal.model.errors import Forbidden
from loominal.model.mechanism import Mechanism
from loominal.model.names import shown
from loominal.weft.weft_file import Allow

PASSED_ON = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"})


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as far as its owner lets targets use it."""

    allow: Allow
    home: Path  # the fabric's
    environ: Mapping[str, str]  # weft's own; nothing of it goes out unless this class says so
    own_keys: bool = False  # ssh may use the user's keys and known hosts: an embedded fabric without a weft.toml
    host: str = msgspec.field(default_factory=socket.gethostname)

    def require(self, mechanism: Mechanism) -> None:
        """Raise Forbidden if this weft may not start anything by `mechanism`."""
        if mechanism not in self.allow.mechanisms:
            raise Forbidden(
                f"this weft may start nothing by {mechanism}", "its owner can: [allow] mechanisms in weft.toml"
            )

    def variable(self, name: str) -> str:
        """Return a variable of weft's own environment that targets may use. Raises: Forbidden if they may not."""
        if name not in self.allow.env:
            raise Forbidden(
                f"targets may not use the variable {shown(name)}", "its owner can: [allow] env in weft.toml"
            )
        return self.environ.get(name, "")

    def variables(self, asked: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a target; an empty one that targets may use has the value that it has here."""
        return {
            name: value or (self.environ.get(name, "") if name in self.allow.env else "")
            for name, value in asked.items()
        }

    @property
    def machine(self) -> str:
        """What a target calls this machine: its name alone, for the domain may be another in every network."""
        return self.host.partition(".")[0]

    def is_here(self, host: str) -> bool:
        """Return whether `host` means this machine; an empty one means whichever asks."""
        return host.lower() in ("", self.host.lower(), self.machine.lower())

    def environment(self) -> dict[str, str]:
        """Return what every child may know of weft's environment: where and as whom it runs, and in which language."""
        return {name: value for name, value in self.environ.items() if name in PASSED_ON or name.startswith("LC_")}
