from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.model.errors import CorruptRecord
from loominal.model.grant import Grant
from loominal.model.policy import Policy
from loominal.model.record import decode, encode
from loominal.model.work import Submission, WorkItem
from tests.unit.factories import a_claimed_item, a_grant, a_submission, an_item

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KINDS: list[type[msgspec.Struct]] = [WorkItem, Submission, Grant, Policy]


@pytest.mark.parametrize(
    "value", [an_item(), a_claimed_item(), a_submission(), a_grant()], ids=lambda v: type(v).__name__
)
def test_a_value_is_read_as_it_was_written(value: msgspec.Struct) -> None:
    stored = decode(type(value), encode(value))

    assert (stored.value, stored.extra) == (value, {})


@pytest.mark.parametrize("value", [an_item(), a_submission(), a_grant()], ids=lambda v: type(v).__name__)
def test_every_record_carries_its_version(value: msgspec.Struct) -> None:
    assert msgspec.json.decode(encode(value))["v"] == 1


@given(st.dictionaries(st.text(min_size=1, max_size=8).map("later_".__add__), JSON, max_size=4))
def test_unknown_fields_survive_a_change_of_the_known_ones(later: dict[str, object]) -> None:
    data = msgspec.json.encode(msgspec.json.decode(encode(an_item())) | later)
    stored = decode(WorkItem, data)

    again = msgspec.json.decode(encode(msgspec.structs.replace(stored.value, attempt=2), stored.extra))

    assert again["attempt"] == 2
    assert {name: again[name] for name in later} == later
    assert len(again) == len(msgspec.json.decode(data)) + 1


def test_a_known_field_is_never_taken_from_the_unknown_ones() -> None:
    written = encode(an_item(), {"id": msgspec.Raw(b'"w_2"')})

    assert decode(WorkItem, written).value.id == "w_1"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'"w_1"', b"{}", b"\xff", b'{"\xff": 1}', b"[" * 100_000, b'{"a":' * 50_000,
        encode(an_item()).replace(b'"ready"', b'"levitating"'),
        encode(an_item()).replace(b'"submitter":"boss"', b'"submitter":5'),
        encode(an_item()).replace(b"2026-03-01T12:00:00Z", b"2026-03-01T12:00:00"),
    ],
    ids=range(13),
)  # fmt: skip
def test_a_corrupt_record_is_reported_as_such(data: bytes) -> None:
    with pytest.raises(CorruptRecord) as report:
        decode(WorkItem, data)

    assert report.value.code == "internal"
    assert "WorkItem" in report.value.message


@given(st.sampled_from(KINDS), st.binary(max_size=60) | JSON.map(msgspec.json.encode))
def test_no_bytes_raise_anything_but_a_corrupt_record(kind: type[msgspec.Struct], data: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode(kind, data)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_record_is_read_or_reported(place: int, damage: bytes) -> None:
    data = encode(a_claimed_item())

    with contextlib.suppress(CorruptRecord):
        decode(WorkItem, data[:place] + damage + data[place + len(damage) :])
