"""What every test gets: an environment without the developer's own fabric in it, and ports nobody uses."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests import ports

settings.register_profile("loominal", deadline=None)  # a loaded machine is no failure
settings.load_profile("loominal")


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run without LOOMINAL_*, NATS_*, XDG_* and CLAUDE_* variables and with an empty home of the run's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("LOOMINAL_", "NATS_", "XDG_", "CLAUDE_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let the tests' children be interrupted: in the background of a shell SIGINT is ignored, and they inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return a function that returns a TCP port of 127.0.0.1 on which nothing listens."""
    return ports.free_port
