"""How long tests wait for what must happen: long enough for any machine, for nothing is lost while all is well."""

from __future__ import annotations

SOON = 50.0  # seconds, for processes that are eight times as slow and stand still now and then; no call may wait longer
