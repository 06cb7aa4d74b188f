"""A few tests of the model that ship with the package, so that the demo has tests to run wherever it is installed."""

from __future__ import annotations

import unittest
from datetime import UTC, datetime

from loominal.model import names
from loominal.model.errors import LeaseLost, error_from
from loominal.model.grant import grants_boundary, own_user_grant
from loominal.model.times import instant
from loominal.model.work import ENDED, WAITING, Status

NOW = datetime(2025, 1, 1, tzinfo=UTC)


class ModelTest(unittest.TestCase):
    """What the demo itself relies on."""

    def test_the_same_three_names_make_the_same_item(self) -> None:
        """An offer made twice is one item."""
        assert names.work_id("p", "a", "t") == names.work_id("p", "a", "t")
        assert names.work_id("p", "a", "t") != names.work_id("p", "b", "t")

    def test_capabilities_are_compared_without_case(self) -> None:
        """Who can do "Python" can do "python"."""
        assert names.label("Python ", "capability") == "python"

    def test_a_subject_token_has_no_wildcard(self) -> None:
        """Nobody is called `*`."""
        assert not names.SUBJECT_TOKEN.fullmatch("*")

    def test_corporate_is_granted_by_name_only(self) -> None:
        """The fabric's own user may do everything else."""
        grant = own_user_grant("demo")
        assert not grants_boundary(grant, "corporate")
        assert grants_boundary(grant, "open-source")

    def test_an_error_keeps_its_kind_on_the_way(self) -> None:
        """A lost lease is one on both sides."""
        assert isinstance(error_from(LeaseLost("gone").problem()), LeaseLost)

    def test_a_duration_is_a_time(self) -> None:
        """Two hours from now, or ago."""
        assert instant("2h", NOW, past=False) > NOW
        assert instant("2h", NOW, past=True) < NOW

    def test_an_item_waits_is_claimed_or_has_ended(self) -> None:
        """There is no fourth."""
        assert set(Status) == {*WAITING, *ENDED, Status.CLAIMED}
