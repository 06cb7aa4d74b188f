"""What a page shows of a run, and whether another run looks the same: ids, times, counts and widths may differ."""

from __future__ import annotations

import re

DIFFERS = (
    (r"\b([wlmt])_[0-9a-f]+\b", r"\1_…"),
    (r"\bnow\b|\b(in )?\d+[smhd]( ago)?", "<age>"),
    (r"\d+(\.\d+)? ms\b", "<ms>"),
    (r"(?<= )\d+(?= agents?\b)|(?<=: )\d+(?= of a type)", "<n>"),
    (r"(?<=started on )\S+|(?<=<age>  )[\w.-]+$", "<host>"),
    (r"(<age>|m_…)( +)", r"\1  "),
    (r" {2,}|[─━]+", "  "),
)


def shape(text: str) -> list[str]:
    """Return the lines of `text` without what another run has otherwise."""
    for pattern, same in DIFFERS:
        text = re.sub(pattern, same, text, flags=re.MULTILINE)
    return [line.strip() for line in text.splitlines() if line.strip()]


def missing(shown: str, told: str) -> list[str]:
    """Return the lines that a page has `shown` and the run has not `told`."""
    found = set(shape(told))
    return [line for line in shape(shown) if line not in found]
