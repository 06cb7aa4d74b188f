"""When weft has the broker restarted: a stream answers nothing although the broker does and there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from loominal.broker.accounts import StoreUse
from loominal.broker.connection import Address, Broker
from loominal.broker.log import Log
from loominal.fabric.hub.fullness import Fullness
from loominal.weft.store import SPARE_BYTES, StoreWatch, use_of


class Watched:
    """A watch over one stream, and how often it asked for a restart."""

    def __init__(self) -> None:
        broker = Broker(Address(urls=("nats://127.0.0.1:1",), name="test", inbox="_IB.test"))
        self.log = Log(broker, "WK_p")
        self.fullness = Fullness()
        self.restarts = 0
        self.watch = StoreWatch(self.fullness, lambda: [self.log], self._restart)

    def _restart(self) -> bool:
        self.restarts += 1
        return True


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_the_share_is_known_to_those_who_refuse(watched: Watched) -> None:
    watched.watch.measured(0.75)
    assert watched.fullness.use == 0.75


def test_a_stream_that_stays_dead_while_the_broker_answers_calls_for_a_restart(watched: Watched) -> None:
    watched.watch.measured(0.1)
    for unanswered in (1, 2):
        watched.log.unanswered = unanswered
        watched.watch.measured(0.1)
    assert watched.restarts == 1


def test_a_stream_that_died_of_a_full_disk_is_not_restarted_before_there_is_room(watched: Watched) -> None:
    watched.log.unanswered = 1
    for _ in range(5):
        watched.watch.measured(1.0)
    assert watched.restarts == 0
    watched.watch.measured(0.5)
    assert watched.restarts == 1


def test_a_broker_that_stood_still_is_not_restarted_for_what_it_left_unanswered(watched: Watched) -> None:
    watched.watch.measured(0.1)
    watched.log.unanswered = 4
    watched.watch.unmeasured()
    for _ in range(5):
        watched.watch.measured(0.1)
    assert watched.restarts == 0


def test_one_slow_moment_is_no_reason(watched: Watched) -> None:
    watched.watch.measured(0.1)
    watched.log.unanswered = 1
    watched.watch.measured(0.1)
    watched.log.unanswered = 0
    watched.watch.measured(0.1)
    watched.log.unanswered = 1
    watched.watch.measured(0.1)
    assert watched.restarts == 0


def test_there_is_one_restart_at_a_time(watched: Watched) -> None:
    watched.watch.measured(0.1)
    for unanswered in range(1, 9):
        watched.log.unanswered = unanswered
        watched.watch.measured(0.1)
    assert watched.restarts == 1


def test_a_disk_with_less_than_the_spare_bytes_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = StoreUse(stored_bytes=1000, limit_bytes=10_000, reserved_bytes=0)
    assert use_of(told, tmp_path / "elsewhere") == 0.1
    monkeypatch.setattr("loominal.weft.store.disk_usage", lambda _: Disk(SPARE_BYTES // 2))
    assert use_of(told, tmp_path) == 1.0
    monkeypatch.setattr("loominal.weft.store.disk_usage", lambda _: Disk(SPARE_BYTES + 1000))
    assert use_of(told, tmp_path) == 0.5


class Disk:
    def __init__(self, free: int) -> None:
        self.free = free
