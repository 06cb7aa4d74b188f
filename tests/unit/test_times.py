from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.model.errors import InvalidArgument
from loominal.model.times import duration_seconds, instant, rfc3339
from tests.unit.factories import NOW, after

INSTANTS = st.integers(-62_135_596_800, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d12h", 129_600),
        ("1w", 604_800),
        ("1.5h", 5400),
        (" 2H ", 7200),
        ("0s", 0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


def test_a_duration_counts_back_from_now_or_onward() -> None:
    assert instant("15m", NOW, past=True) == after(-900)
    assert instant("15m", NOW, past=False) == after(900)


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T12:00:00Z", "2026-03-01t12:00:00z", "2026-03-01T13:30:00+01:30", "2026-03-01 12:00:00.000000000Z"],
)
def test_an_rfc_3339_time_is_read_as_utc(text: str) -> None:
    read = instant(text, NOW, past=True)

    assert (read, read.tzinfo) == (NOW, UTC)


@pytest.mark.parametrize(
    "text",
    [
        "", "h", "12", "-5m", "5m2h", "2h2h", "2 h", "soon", "2026-03-01", "2026-03-01T12:00:00", "20260301T120000Z",
        "2026-02-30T00:00:00Z", "2026-03-01T25:00:00Z", "2026-03-01T23:59:60Z", "0001-01-01T00:00:00+14:00",
        "99999999d", "999999999999w", "２h", "1e3s", "nan", "2026-03-01T12:00:00+99:99",
    ],
)  # fmt: skip
@pytest.mark.parametrize("past", [True, False])
def test_anything_else_is_refused_with_a_hint(text: str, past: bool) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        instant(text, NOW, past=past)

    assert refusal.value.hint


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        instant(text, NOW, past=True)


@given(INSTANTS)
def test_a_shown_time_is_the_same_second(at: datetime) -> None:
    text = rfc3339(at)

    assert len(text) == 20
    assert instant(text, NOW, past=False) == at


def test_a_time_is_shown_in_utc() -> None:
    assert rfc3339(NOW.astimezone(timezone(timedelta(hours=9)))) == "2026-03-01T12:00:00Z"
