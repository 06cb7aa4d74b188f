"""Slots: who a process is, again after a restart, and never two at once."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loominal.fabric.slots import Slot, is_free_slot, take_slot
from loominal.model.errors import Busy, InvalidArgument


def take(home: Path, *, handle: str = "", agent_id: str = "", client: str = "python") -> Slot:
    return take_slot(home, "shop", client, handle=handle, agent_id=agent_id)


def test_the_same_number_of_processes_finds_the_same_agents_again(tmp_path: Path) -> None:
    with take(tmp_path) as first, take(tmp_path) as second:
        before = [first.id, second.id]
    with take(tmp_path) as first, take(tmp_path) as second:
        assert [first.id, second.id] == before
        assert len(set(before)) == 2


def test_clients_and_projects_have_slots_of_their_own(tmp_path: Path) -> None:
    with (
        take(tmp_path) as one,
        take(tmp_path, client="Claude Code") as other,
        take_slot(tmp_path, "bar", "python") as far,
    ):
        assert len({one.id, other.id, far.id}) == 3
        assert other.folder == tmp_path / "agents" / "shop" / "claude-code" / "1"


def test_who_asks_for_a_handle_gets_the_slot_that_had_it(tmp_path: Path) -> None:
    with take(tmp_path) as plain, take(tmp_path) as alice:
        plain.remember_handle("bob")
        alice.remember_handle("alice")
    with take(tmp_path, handle="alice") as again:
        assert (again.id, again.handle) == (alice.id, "alice")


def test_a_new_handle_never_takes_over_the_agent_of_another_handle(tmp_path: Path) -> None:
    with take(tmp_path) as alice:
        alice.remember_handle("alice")
    with take(tmp_path, handle="bob") as bob:
        assert bob.id != alice.id


def test_a_slot_that_never_had_a_handle_is_taken_before_a_new_one_is_made(tmp_path: Path) -> None:
    with take(tmp_path) as nameless:
        pass
    with take(tmp_path, handle="bob") as bob:
        assert bob.id == nameless.id


def test_a_given_agent_id_is_that_agent_whatever_client_asks(tmp_path: Path) -> None:
    agent_id = str(uuid.uuid4())
    with take(tmp_path) as first:
        pass
    with take(tmp_path, agent_id=agent_id.upper()) as made:
        assert made.id == agent_id
        with pytest.raises(Busy, match=agent_id):
            take(tmp_path, agent_id=agent_id)
    with take(tmp_path, agent_id=agent_id, client="other") as again, take(tmp_path, agent_id=first.id) as numbered:
        assert (again.id, numbered.folder) == (agent_id, first.folder)


def test_an_agent_id_that_is_no_uuid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no UUID"):
        take(tmp_path, agent_id="../../etc")


def test_of_many_starters_at_once_each_gets_an_agent_of_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        slots = list(pool.map(lambda _: take(tmp_path), range(64)))
    try:
        assert len({slot.id for slot in slots}) == 64
        assert {slot.folder.name for slot in slots} == {str(number) for number in range(1, 65)}
        assert not list((tmp_path / "agents" / "shop" / "python").glob(".draft-*"))
    finally:
        for slot in slots:
            slot.release()


def test_of_many_starters_with_one_given_id_exactly_one_gets_it(tmp_path: Path) -> None:
    agent_id = str(uuid.uuid4())

    def start(_: int) -> Slot | None:
        try:
            return take(tmp_path, agent_id=agent_id)
        except Busy:
            return None

    with ThreadPoolExecutor(16) as pool:
        [winner] = [slot for slot in pool.map(start, range(32)) if slot]
    winner.release()


def test_a_killed_process_leaves_its_slot_to_the_next(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from loominal.fabric.slots import take_slot\n"
        "print(take_slot(Path(sys.argv[1]), 'shop', 'python').id, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = other.stdout.readline().strip()
        with take(tmp_path) as mine:
            assert mine.id != theirs
        other.send_signal(signal.SIGKILL)
    with take(tmp_path) as next_one:
        assert next_one.id == theirs


def test_a_forked_child_does_not_give_its_parents_slot_away(tmp_path: Path) -> None:
    with take(tmp_path) as slot:
        child = subprocess.run(
            [sys.executable, "-c", FORKING, str(tmp_path)], check=True, capture_output=True, text=True, timeout=30
        )
        assert child.stdout.split() == ["busy"]
        assert slot.id


FORKING = """
import os, sys
from pathlib import Path
from loominal.fabric.slots import take_slot
from loominal.model.errors import Busy
slot = take_slot(Path(sys.argv[1]), "bar", "python")
child = os.fork()
if child == 0:
    slot.release()
    os._exit(0)
os.waitpid(child, 0)
try:
    take_slot(Path(sys.argv[1]), "bar", "python", agent_id=slot.id)
except Busy:
    print("busy")
"""


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with take(tmp_path) as slot:
        key = slot.key()
        seed = slot.folder / "seed"
        assert key.public.startswith("U")
        assert stat.S_IMODE(seed.stat().st_mode) == 0o600
        assert stat.S_IMODE(slot.folder.stat().st_mode) == 0o700
    with take(tmp_path) as again:
        assert again.key() == key


def test_a_damaged_slot_is_passed_over(tmp_path: Path) -> None:
    with take(tmp_path) as slot:
        (slot.folder / "id").write_text("damaged")
    with take(tmp_path) as other:
        assert other.folder.name == "2"


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(InvalidArgument) as refused:
        take(tmp_path / "home")
    assert str(tmp_path / "home") in refused.value.message
    assert "LOOMINAL_HOME" in refused.value.hint


def test_a_session_is_its_own_agent_again_whatever_other_sessions_do(tmp_path: Path) -> None:
    with take_slot(tmp_path, "shop", "c", session="s1") as first, take_slot(tmp_path, "shop", "c", session="s2") as two:
        before = first.id, two.id
    with take_slot(tmp_path, "shop", "c", session="s2") as two, take_slot(tmp_path, "shop", "c", session="s1") as first:
        assert (first.id, two.id) == before
    with take_slot(tmp_path, "shop", "c", session="s3") as third, take_slot(tmp_path, "shop", "c") as unnamed:
        assert len({*before, third.id, unnamed.id}) == 4


def test_a_new_session_takes_an_agent_of_which_nothing_is_left(tmp_path: Path) -> None:
    days = {"nameless": 0.5, "spare": 1.5, "named": 1.5, "lapsed": 32}
    ids = {}
    with contextlib.ExitStack() as slots:
        for session in days:
            slot = slots.enter_context(take_slot(tmp_path, "shop", "c", session=session))
            ids[slot.id] = session, slot.folder
            if session in ("named", "lapsed"):
                slot.remember_handle(session)
    for session, folder in ids.values():
        before = time.time() - days[session] * 86400
        os.utime(folder / "lock", (before, before))

    with contextlib.ExitStack() as slots:
        new = [slots.enter_context(take_slot(tmp_path, "shop", "c", session=f"new-{n}")) for n in range(3)]
        assert [ids.get(slot.id, ("new", tmp_path))[0] for slot in new] == ["spare", "lapsed", "new"]


def test_a_session_with_a_handle_is_the_agent_that_had_it(tmp_path: Path) -> None:
    with take_slot(tmp_path, "shop", "c", session="s1") as old:
        old.remember_handle("alice")
    assert is_free_slot(tmp_path, "shop", "c", "alice")
    with take_slot(tmp_path, "shop", "c", session="s2", handle="alice") as again:
        assert again.id == old.id
        assert not is_free_slot(tmp_path, "shop", "c", "alice")
    with take_slot(tmp_path, "shop", "c", session="s2") as same:
        assert same.id == old.id


def test_an_agent_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    with take(tmp_path) as first:
        first.enrols_as("laptop-1")
        first.remember_handle("ann")
    with take_slot(tmp_path, "shop", "python", handle="ann", machine="laptop-2") as other:
        assert other.id != first.id
        assert not is_free_slot(tmp_path, "shop", "python", "ann", machine="laptop-2")
    with take_slot(tmp_path, "shop", "python", handle="ann", machine="laptop-1") as again:
        assert again.id == first.id


def test_slots_of_launches_that_ended_long_ago_are_removed(tmp_path: Path) -> None:
    def launched() -> Slot:
        return take_slot(tmp_path, "shop", "python", agent_id=str(uuid.uuid4()), launched=True)

    with launched() as old, launched() as lately, launched() as running:
        pass
    with running:
        for slot in (old, running):
            os.utime(slot.folder / "lock", (0, 0))
        held = take_slot(tmp_path, "shop", "python", agent_id=running.id, launched=True)
        os.utime(running.folder / "lock", (0, 0))
        with launched() as new, held:
            assert {folder.name for folder in new.folder.parent.iterdir()} == {lately.id, running.id, new.id}


@pytest.mark.parametrize("file", ["id", "seed", "handle", "session", "lock"])
@pytest.mark.parametrize("harm", ["empty", "garbage", "folder"])
def test_a_slot_that_was_harmed_keeps_nobody_from_starting(tmp_path: Path, file: str, harm: str) -> None:
    with take(tmp_path) as harmed:
        harmed.key()
        harmed.remember_handle("ann")
    place = harmed.folder / file
    place.unlink(missing_ok=True)
    if harm == "folder":
        place.mkdir()
    else:
        place.write_bytes(b"" if harm == "empty" else b"\xff\x00garbage")

    with take(tmp_path, handle="ann") as first, take(tmp_path) as second:
        assert first.id != second.id
        for slot in (first, second):
            slot.key()
            slot.remember_handle("bob")


def test_a_named_agent_whose_key_is_damaged_is_said_to_be_so(tmp_path: Path) -> None:
    named = str(uuid.uuid4())
    with take(tmp_path, agent_id=named) as slot:
        slot.key()
    (slot.folder / "seed").write_text("SU")

    with pytest.raises(InvalidArgument, match="damaged"):
        take(tmp_path, agent_id=named)


def test_a_clock_that_was_set_back_or_forward_makes_no_agent_anothers(tmp_path: Path) -> None:
    with take(tmp_path) as ann:
        ann.remember_handle("ann")
    for at in (0.0, time.time() + 1e6):  # as it looks after the clock was set forward, and back
        os.utime(ann.folder / "lock", (at, at))
        with take(tmp_path, handle="ann") as again:
            assert again.id == ann.id


def test_a_slot_that_cannot_be_kept_is_free_again(tmp_path: Path) -> None:
    with take(tmp_path) as slot:
        pass
    (slot.folder / "session").mkdir()

    for _ in range(2):
        os.utime(slot.folder / "lock", (0, 0))
        with pytest.raises(InvalidArgument, match="cannot write"):
            take_slot(tmp_path, "shop", "python", session="s1")
    with take(tmp_path) as again:
        assert again.id == slot.id
