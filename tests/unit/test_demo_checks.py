"""The checks of `loominal demo` say what is wrong; a demo of which nothing was seen satisfies hardly any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from loominal.fabric.operations.spin_ups import SpinUpView
from loominal.local.demo.check import CLAIMS, checks
from loominal.local.demo.journal import Deed, Entry, Journals
from loominal.local.demo.seen import Seen
from loominal.model.launch import LaunchStatus

ABSENCES = {  # claims that something is not there
    "nothing is claimed or waiting any more",
    "no process and no file is left",
}


def test_a_demo_of_which_nothing_was_seen_proves_nothing() -> None:
    found = checks(Seen())

    assert {check.claim for check in found if not check.problems} == ABSENCES
    assert len(found) == len(CLAIMS)


def test_what_is_left_behind_is_noticed() -> None:
    seen = Seen(left=("process 7: worker",))

    problems = {check.claim: check.problems for check in checks(seen)}

    assert problems["no process and no file is left"] == ("process 7: worker",)


def test_two_agents_of_one_target_at_once_and_one_that_stays_are_noticed() -> None:
    began = datetime(2025, 1, 1, tzinfo=UTC)
    first = SpinUpView(
        id="l_1",
        target="ada",
        target_id="t_1",
        mechanism="local",
        agent_type="claude-code",
        status=LaunchStatus.STOPPED,
        requested_at=began,
        ended_at=began + timedelta(seconds=9),
    )
    second = msgspec.structs.replace(first, id="l_2", requested_at=began + timedelta(seconds=3), ended_at=None)
    stays = msgspec.structs.replace(second, status=LaunchStatus.REGISTERED)

    problems = {check.claim: check.problems for check in checks(Seen(launches=[stays, first]))}

    assert "ada had 2 at once, 1 may be" in problems["no target had more agents at once than it may"]
    assert problems["the fleet was drained to zero"][0].startswith("the agent of ada is registered")


def test_a_journal_is_read_along_and_half_a_line_is_none(tmp_path: Path) -> None:
    journals, line = Journals(tmp_path), msgspec.json.encode(Entry(agent="ada", deed=Deed.LEFT)) + b"\n"
    place = tmp_path / "ada"
    place.write_bytes(line + line[:5])
    first = journals.new()
    place.write_bytes(line + line + line[:-1])

    assert [len(first), len(journals.new()), len(journals.new())] == [1, 1, 0]
