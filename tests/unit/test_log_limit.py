"""One kind of line cannot fill the log."""

from __future__ import annotations

import logging

from loominal.weft.log_limit import LINES, WINDOW_SECONDS, LogLimit


def a_line(text: str, *args: object, logger: str = "weft") -> logging.LogRecord:
    return logging.LogRecord(logger, logging.WARNING, __file__, 1, text, args, None)


def test_what_is_said_again_and_again_is_held_back_until_the_window_is_over() -> None:
    now = 0.0
    limit = LogLimit(lambda: now)
    lines = [a_line("request of %s ignored", number) for number in range(LINES + 5)]

    assert [limit.filter(line) for line in lines] == [True] * LINES + [False] * 5
    assert "held back" in lines[LINES - 1].getMessage()
    assert lines[0].getMessage() == "request of 0 ignored"
    assert limit.filter(a_line("another thing"))
    assert limit.filter(a_line("request of %s ignored", 1, logger="broker"))

    now = WINDOW_SECONDS
    assert limit.filter(a_line("request of %s ignored", 1))
