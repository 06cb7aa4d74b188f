"""What a page shows of a run, and whether another run looks the same: ids, times, counts and widths may differ."""

from __future__ import annotations

import re

CUT = "…"  # ends what a terminal had no room for
DIFFERS = (
    (r"\b([wlmt])_[0-9a-f]+(\b|(?=…))", r"\1_#"),
    (r"\bnow\b|\b(in )?\d+[smhd]( ago)?", "<age>"),
    (r"\d+(\.\d+)? ms\b", "<ms>"),
    (r" {2,}", "  "),
    (r"(?<=started on )\S+|(?<=<age>  )[\w.-]+$", "<host>"),
)


def shape(text: str) -> list[str]:
    """Return the lines of `text` without what another run has otherwise."""
    for pattern, same in DIFFERS:
        text = re.sub(pattern, same, text, flags=re.MULTILINE)
    return [line.strip() for line in text.splitlines() if line.strip()]


def missing(shown: str, told: str) -> list[str]:
    """Return the lines that a page has `shown` and the run has not `told`; what is cut may be longer there."""
    found = shape(told)
    return [line for line in shape(shown) if not any(_is(line, each) for each in found)]


def _is(shown: str, told: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split(CUT))), told) is not None
