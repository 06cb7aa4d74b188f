"""The checks of `loominal demo` say what is wrong; a demo of which nothing was seen satisfies hardly any."""

from __future__ import annotations

from loominal.local.demo.check import CLAIMS, checks
from loominal.local.demo.seen import Seen

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
