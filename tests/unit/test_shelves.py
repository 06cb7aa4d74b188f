"""The shelves beside a plain list that is searched from end to end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loominal.fabric.hub.work.shelves import Shelves, label_of
from loominal.model.work import Status, WorkItem, status_at
from tests.unit.factories import NOW, after, an_item

STATUSES = (Status.READY, Status.SCHEDULED, Status.CLAIMED, Status.DONE)
BOUNDARIES = ("personal", "open-source")
changes = st.tuples(
    st.integers(0, 9),
    st.sampled_from(STATUSES),
    st.sampled_from(BOUNDARIES),
    st.integers(1, 3),
    st.sampled_from([-10.0, 0.0, 10.0]),
    st.booleans(),
)


@given(
    st.lists(changes, max_size=40), st.sampled_from([None, *STATUSES]), st.sampled_from([1, 2, 4]), st.integers(0, 9)
)
def test_shelves_count_and_list_what_is_on_them(
    moves: list[tuple[int, Status, str, int, float, bool]], status: Status | None, least: int, behind: int
) -> None:
    shelves, kept = Shelves(), dict[str, WorkItem]()
    for number, now_at, boundary, priority, due, gone in moves:
        name = f"w_{number}"
        if old := kept.pop(name, None):
            shelves.remove(old)
        if gone:
            continue
        plain = an_item(id=name, boundary=boundary, priority=priority, submitted_at=after(number % 4))
        kept[name] = item = replace(plain, status=now_at, due_at=after(due) if now_at is Status.SCHEDULED else None)
        shelves.add(item, label_of(item), (item.submitted_at, item.id))

    def is_wanted(item: WorkItem, boundary: str) -> bool:
        return item.boundary == boundary and item.priority >= least and status in (None, status_at(item, NOW))

    for boundary in BOUNDARIES:
        wanted = [item for item in kept.values() if is_wanted(item, boundary)]
        assert shelves.count({boundary}, status, least, NOW) == len(wanted)
    place = after(behind % 4), f"w_{behind}"
    listed = [(item.submitted_at, item.id) for item in kept.values() if item.priority >= least]
    newest = sorted((each for each in listed if each < place), reverse=True)
    assert list(shelves.newest_first(set(Status), None, least, place)) == newest
    assert shelves.boundaries() == {item.boundary for item in kept.values()}
    assert bool(shelves) == bool(kept)
    counts = shelves.counts(NOW)
    assert {each: counts[each] for each in STATUSES} == {
        each: sum(status_at(item, NOW) is each for item in kept.values()) for each in STATUSES
    }
