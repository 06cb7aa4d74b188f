"""The log as JSON: one object a line, with what it is about, whatever is in it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from loominal.fabric.hub.about import about
from loominal.weft.api import request_id
from loominal.weft.json_log import JsonLines

Json = Any  # Any: what a line holds


def line(message: str = "told %s", *values: object, **more: Json) -> Json:
    """Return the object that a line is."""
    record = logging.LogRecord("loominal.x", logging.WARNING, __file__, 1, message, values, more.pop("exc_info", None))
    record.__dict__.update(more)
    text = JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_how_bad_where_and_what() -> None:
    told = line("told %s", "all")

    assert told.pop("time").endswith("Z")
    assert told == {"level": "WARNING", "logger": "loominal.x", "message": "told all"}


def test_line_ends_quotes_and_halves_of_characters_stay_within_the_line() -> None:
    assert line('a\n"b"\ud800\x00')["message"] == 'a\n"b"\\ud800\x00'


def test_an_exception_is_one_field() -> None:
    try:
        raise ValueError("inner\nlines")
    except ValueError:
        told = line("failed", exc_info=sys.exc_info())

    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("inner\nlines")


async def test_a_line_is_about_what_its_task_does_and_not_about_what_others_do() -> None:
    async def in_project() -> tuple[Json, Json]:
        about(project="p1", op="")
        inner = await asyncio.create_task(answering())
        return line(), inner

    async def answering() -> Json:
        about(agent="a1", work="w_1")
        request_id.begin("r-1")
        return line("x", work="w_2")

    outer, inner = await asyncio.create_task(in_project())

    assert {name: inner[name] for name in ("project", "agent", "work", "requestId")} == {
        "project": "p1",
        "agent": "a1",
        "work": "w_2",
        "requestId": "r-1",
    }
    assert (outer["project"], "agent" in outer, "op" in outer, "project" in line()) == ("p1", False, False, False)
