"""How the system's `ssh` is called for a target: with which options, keys and known hosts.

Of ssh's configuration nothing counts, neither the user's nor the machine's (`-F none`): what a target does is to be
seen in the target, the same from every weft, and a ProxyCommand is not for whoever may set a target. Known hosts and
keys are taken from where they usually are, unless the target names others and the machine's owner allows those.
"""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

from loominal.model.errors import Forbidden, StartFailed
from loominal.model.mechanism import SshConfig
from loominal.model.names import shown
from loominal.weft.mechanisms.means import Means

PLAIN_PATH = re.compile(r"/[^\x00-\x1f\"'\\%$]*")  # ssh expands %h and ${NAME}, and splits what has quotes
AUTH_SOCKET = "SSH_AUTH_SOCK"
OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "PreferredAuthentications=publickey",
    "ConnectionAttempts=1",
    "ServerAliveInterval=10",  # three times without a sign of life, and ssh gives up
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "LogLevel=ERROR",
)


def arguments(config: SshConfig, means: Means, title: str) -> tuple[str, ...]:
    """Return what runs a shell on the machine of a target, to read a script from its standard input.

    Raises: Forbidden if the machine's owner does not allow the key, StartFailed if a file is not there.
    """
    options = [*OPTIONS, f"ConnectTimeout={math.ceil(config.connect_timeout_seconds)}"]
    options += _known_hosts(config) + _keys(config, means)
    return (
        *("ssh", "-F", "none", "-T", "-a", "-x", "-e", "none"),
        *(word for option in options for word in ("-o", option)),
        *("-l", config.user, "-p", str(config.port), "--", config.host),
        shlex.join(("exec", "/bin/sh", "-s", title)),
    )


def environment(means: Means) -> dict[str, str]:
    """Return ssh's own environment: in English, for its messages are read."""
    agent = {AUTH_SOCKET: means.environ[AUTH_SOCKET]} if means.own_keys and AUTH_SOCKET in means.environ else {}
    return {**means.environment(), "LC_ALL": "C", **agent}


def known_hosts(config: SshConfig) -> str:
    """Return where the host's key is looked up."""
    return config.known_hosts_file or "~/.ssh/known_hosts"


def _known_hosts(config: SshConfig) -> list[str]:
    if not config.known_hosts_file:
        return []
    path = _file(config.known_hosts_file, "file of known hosts")
    return [f'UserKnownHostsFile="{path}"', "GlobalKnownHostsFile=none"]


def _keys(config: SshConfig, means: Means) -> list[str]:
    """Return the options that say which private keys are tried."""
    if not config.identity_file and means.own_keys:
        return []  # ssh tries the user's own, and those of an agent
    allowed = {Path(each).expanduser() for each in means.allow.identity_files}
    asked = {Path(config.identity_file).expanduser()} if config.identity_file else allowed
    if not asked:
        raise Forbidden("this weft has no key for ssh", "its owner can name some: [allow] identityFiles in weft.toml")
    for path in asked - allowed:
        if not (means.own_keys and path.resolve().parent == Path("~/.ssh").expanduser().resolve()):
            raise Forbidden(
                f"targets may not use the key {shown(str(path))}",
                "its owner can: [allow] identityFiles in weft.toml",
            )
    files = [_file(str(path), "private key") for path in sorted(asked)]
    return ["IdentitiesOnly=yes", "IdentityAgent=none", *(f'IdentityFile="{file}"' for file in files)]


def _file(text: str, what: str) -> Path:
    """Return the path of a file that ssh can be told of. Raises: StartFailed."""
    path = Path(text).expanduser()
    if not PLAIN_PATH.fullmatch(str(path)):
        raise StartFailed(
            f"{shown(text)} cannot be the {what}", "it has to be a whole path without quotes, '%', '$' and '\\'"
        )
    if not path.is_file():
        raise StartFailed(f"there is no {what} {shown(text)}", "on the machine where weft runs")
    return path
