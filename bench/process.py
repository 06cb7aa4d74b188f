"""What the system says of a running process (Linux: /proc)."""

from __future__ import annotations

from pathlib import Path

MEGABYTE = 1_000_000


def cpu_seconds(pid: int) -> float:
    """Return how long the process has run on a CPU so far. Source: schedstat, nanoseconds of each thread."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def resident_megabytes(pid: int) -> float:
    """Return how much memory of the process is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise ProcessLookupError(pid)


def open_files(pid: int) -> int:
    """Return how many files and sockets the process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
