"""`loominal demo` as a user runs it: what it finds, what it notices, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import SOON

ENDED_SECONDS = 200.0  # twenty on a machine of its own; it gives up by itself when nothing moves
pytestmark = pytest.mark.timeout(240)


class Demo:
    """A demo in a session of its own, which finds an empty home and an empty place for temporary files."""

    def __init__(self, place: Path, *options: str, piped: bool = False) -> None:
        self.place = place
        self._said = place / "said.txt"
        for name in ("home", "tmp"):
            (place / name).mkdir()
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loominal", "demo", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")},
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + SOON
        while text not in self.said:
            assert self._process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def close_after(self, text: str) -> None:
        """Read its output up to a line with `text`, and no further."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            assert any(text.encode() in line for line in lines)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole process group, as a terminal does."""
        os.killpg(self._process.pid, number)

    def ended(self) -> int:
        return self._process.wait(ENDED_SECONDS)

    def left(self) -> list[str]:
        """Return the files and the processes that are still there."""
        files = [str(path) for name in ("home", "tmp") for path in (self.place / name).rglob("*")]
        return files + [str(pid) for pid in self._processes()]

    def end(self) -> None:
        """End whatever is left, so that a failing test leaves nothing behind."""
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _processes(self) -> Iterator[int]:
        mark = str(self.place).encode()
        for path in Path("/proc").iterdir():
            if not path.name.isdecimal() or int(path.name) == os.getpid():
                continue
            try:
                if mark in (path / "environ").read_bytes() or mark in (path / "cmdline").read_bytes():
                    yield int(path.name)
            except OSError:
                continue  # it has ended, or is somebody else's


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def test_a_demo_does_all_its_work_and_leaves_nothing(place: Path) -> None:
    demo = Demo(place)
    try:
        assert demo.ended() == 0, demo.said
        assert "everything is as it should be" in demo.said
        assert "✗" not in demo.said
        assert demo.left() == []
    finally:
        demo.end()


def test_the_checks_notice_a_wrong_result_and_a_spared_agent(place: Path) -> None:
    demo = Demo(place, "--sabotage", "lie", "--sabotage", "spare")
    try:
        assert demo.ended() == 1, demo.said
        assert set(re.findall(r"^✗ (.+)$", demo.said, re.MULTILINE)) >= {
            "every result is what the boss finds itself",
            "the killed agent's item was finished by another",
        }
        assert demo.left() == []
    finally:
        demo.end()


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "starting a fabric"),
        (signal.SIGINT, "is started for"),
        (signal.SIGINT, "all here: begin"),
        (signal.SIGTERM, "registers for"),
    ],
    ids=["at-the-start", "while-agents-start", "half-way", "terminated"],
)
def test_an_interrupted_demo_leaves_nothing(place: Path, number: signal.Signals, moment: str) -> None:
    demo = Demo(place)
    try:
        demo.wait_for(moment)

        demo.signal(number)

        assert demo.ended() == 130, demo.said
        assert demo.left() == []
    finally:
        demo.end()


def test_a_demo_that_nobody_reads_any_more_leaves_nothing(place: Path) -> None:
    demo = Demo(place, piped=True)
    try:
        demo.close_after("starting a fabric")

        assert demo.ended() == 130
        assert demo.left() == []
    finally:
        demo.end()
