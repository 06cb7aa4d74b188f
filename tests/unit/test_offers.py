"""What `shuttle submit --jsonl` reads: offers, and what is wrong with lines."""

from __future__ import annotations

from itertools import repeat

import pytest

from loominal.model.errors import InvalidArgument, LoominalError, NotFound
from loominal.shuttle.offering.offers import MOST_LINES, MOST_TOLD, Wrong, fields_of, offer_of, read_lines, refusal


def read(*lines: str, **unsaid: object) -> tuple[list[str | None], list[str]]:
    """Return the task ids that were read, and what is wrong."""
    found, wrong = read_lines([line.encode() for line in lines], unsaid)
    return [each.offer.task_id for each in found], [f"{each.number}: {each.error.message}" for each in wrong]


def test_a_line_says_what_it_needs_in_each_of_the_words_of_rest() -> None:
    offer = offer_of({"description": "x", "capability": "a", "requiredCapability": "b", "capabilities": ["c", "a"]})

    assert (offer.capabilities, offer.required_capability) == (("c", "a", "b"), None)


def test_flags_say_what_a_line_leaves_unsaid() -> None:
    unsaid = fields_of({"priority": 8, "required_agent_type": "codex", "deadline": None, "depends_on": ()})
    [said, silent], _ = read_lines([b'{"description": "x", "priority": 2}', b'{"description": "x"}'], unsaid)

    assert (said.offer.priority, silent.offer.priority, silent.offer.required_agent_type) == (2, 8, "codex")


def test_a_mark_of_the_byte_order_is_part_of_no_line() -> None:
    [first, same], wrong = read('\ufeff{"description": "x"}\r\n', '{"description": "x"}\n')

    assert (str(first)[:-1], wrong) == (str(same)[:-1], [])


def test_the_same_line_has_the_same_task_id_in_every_file_and_each_of_two_equal_ones_its_own() -> None:
    first, other = '{"description": "x"}', '{"description": "y"}'
    [a, b, c], _ = read(first, first, other)
    [again, same], _ = read(other, '{"priority": 5, "description": "x", "deadline": null}')

    assert len({a, b, c}) == 3
    assert (again, same) == (c, a)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["[1]"], "1: it is no JSON object"),
        (["", '{"description": "x"'], "2: it is no JSON object"),
        (['{"description": "x", "projectId": "p"}'], "1: malformed arguments: Object contains unknown field"),
        (['{"description": "x", "priority": 11}'], "1: malformed arguments: Expected `int` <= 10"),
        (['{"capability": "x"}'], "1: malformed arguments: Object missing required field `description`"),
        (['{"description": "x", "taskId": "t"}'] * 2, "2: line 1 has the task id 't'"),
        (
            ['{"description": "x", "dependsOn": ["t"]}', '{"description": "y", "taskId": "t"}'],
            "1: it depends on 't', which is line 2",
        ),
        (['{"description": "x", "taskId": "t", "dependsOn": ["t"]}'], "1: it depends on 't', which is line 1"),
        (['{"description": "' + "x" * 200_001 + '"}'], "1: description has 200001 bytes"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lines: list[str], wrong: str) -> None:
    [told] = read(*lines)[1]

    assert told.startswith(wrong)


def test_what_comes_before_in_the_file_is_no_matter_of_the_hub_yet() -> None:
    lines, _ = read_lines(
        [b'{"description": "x", "taskId": "t"}', b'{"description": "y", "dependsOn": ["t", "w"]}'], {}
    )

    assert (lines[1].offer.depends_on, lines[1].alone.depends_on, lines[1].after) == (
        ("t", "w"),
        ("w",),
        frozenset({"t"}),
    )


@pytest.mark.parametrize(
    ("errors", "kind"),
    [([NotFound("a"), NotFound("b")], NotFound), ([NotFound("a"), InvalidArgument("b")], InvalidArgument)],
)
def test_errors_of_one_kind_are_one_of_that_kind(errors: list[LoominalError], kind: type[LoominalError]) -> None:
    error = refusal([Wrong(number, each) for number, each in enumerate(errors, 3)], "plan.jsonl")

    assert type(error) is kind
    assert error.message == "2 lines of plan.jsonl cannot be offered:\n  line 3: a\n  line 4: b"


def test_a_file_without_end_is_not_read_to_it() -> None:
    with pytest.raises(InvalidArgument, match=f"more than {MOST_LINES} lines"):
        read_lines(repeat(b"\n"), {})


def test_of_many_wrong_lines_some_are_told_and_how_many_there_are() -> None:
    wrong = [Wrong(number, InvalidArgument("no")) for number in range(1, MOST_TOLD + 8)]

    told = refusal(wrong, "plan.jsonl").message.splitlines()

    assert told[0] == f"{len(wrong)} lines of plan.jsonl cannot be offered:"
    assert (len(told), told[-1].strip()) == (MOST_TOLD + 2, "and 7 more")
