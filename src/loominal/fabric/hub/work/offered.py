"""What was offered and not claimed yet, kept in memory: most items are claimed soon, and then need no read.

`submitting.py` keeps a submission here, `views.py` takes it out; the log has them all.
"""

from __future__ import annotations

from collections import OrderedDict

from loominal.model.work import Submission

KEPT = 256  # the newest; with LONGEST_BYTES at most 1 MB of a project
LONGEST_BYTES = 4096


class Offered:
    """The newest short submissions, each until it is asked for."""

    def __init__(self) -> None:
        self._submissions: OrderedDict[str, Submission] = OrderedDict()

    def keep(self, submission: Submission, size: int) -> None:
        """Keep a submission whose record has `size` bytes, unless it is long."""
        if size > LONGEST_BYTES:
            return
        self._submissions[submission.id] = submission
        if len(self._submissions) > KEPT:
            self._submissions.popitem(last=False)

    def take(self, item_id: str) -> Submission | None:
        """Return the submission of an item, and keep it no longer; None if it is not here."""
        return self._submissions.pop(item_id, None)
