"""What is typed, as keys: the bytes of a terminal in, names of keys out. `loop` feeds it."""

from __future__ import annotations

import codecs
import re

NAMES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[5~": "page-up", "[6~": "page-down",
    "[H": "home", "OH": "home", "[1~": "home", "[7~": "home", "[F": "end", "OF": "end", "[4~": "end", "[8~": "end",
    "[Z": "back-tab", "[C": "tab", "OC": "tab", "[D": "back-tab", "OD": "back-tab",
    "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x15": "clear",
    "\x0c": "redraw",
}  # fmt: skip
ESCAPE = "\x1b"
WHOLE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O[A-Za-z])")  # ECMA-48 5.4; with O in application mode
BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?")
LONGEST = 32  # characters of a sequence; what is longer is none


class Keys:
    """The keys of one terminal. A sequence may come in pieces, and Esc alone is the beginning of one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    @property
    def begun(self) -> bool:
        """Whether a sequence has begun and not ended: call `settle` if nothing follows soon."""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that `data` completes: a character that can be printed as itself, others by name."""
        self._text += self._decoder.decode(data)
        keys = []
        while self._text:
            if whole := WHOLE.match(self._text):
                keys.append(NAMES.get(whole[1], ""))
                self._text = self._text[whole.end() :]
            elif BEGUN.fullmatch(self._text) and len(self._text) <= LONGEST:
                break
            else:
                keys.append("escape" if self._text[0] == ESCAPE else _named(self._text[0]))
                self._text = self._text[1:]
        return [key for key in keys if key]

    def settle(self) -> list[str]:
        """Return what was typed if nothing more belongs to it: Esc, or nothing that has a name."""
        typed, self._text = self._text, ""
        return ["escape"] if typed == ESCAPE else []


def _named(character: str) -> str:
    return NAMES.get(character, character if character.isprintable() else "")
