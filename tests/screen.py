"""A terminal's screen as far as Shuttle's drawing needs one: what stands where after all that was written to it."""

from __future__ import annotations

import re

from loominal.shuttle.tables import cell_width

PIECE = re.compile(
    r"\x1b\[(?P<number>[0-9;?]*)(?P<deed>[A-Za-z])|(?P<control>[\x00-\x1f\x7f-\x9f])|(?P<text>.)", re.DOTALL
)


class Screen:
    """Lines of cells. `wrapped` counts what did not fit into its line, `strange` has the controls it does not know."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.columns = columns
        self.height = lines
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.wrapped = 0
        self.strange: list[str] = []
        self.hidden = False  # the cursor
        self.alternate = False  # the other screen is shown, and the main one is kept in `_main`
        self.wraps = True
        self.styles: set[str] = set()  # that were ever used: "31" is red
        self._main = (self.lines, 0, 0)

    def write(self, text: str) -> None:
        """Take what a program has written."""
        for piece in PIECE.finditer(text):
            if piece["text"]:
                self._put(piece["text"])
            elif piece["control"]:
                self._control(piece["control"])
            else:
                self._deed(piece["number"], piece["deed"])

    @property
    def shown(self) -> list[str]:
        """The lines without what is empty at their ends and below."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip().split("\n")

    @property
    def main(self) -> list[str]:
        """The lines of the main screen, whichever is shown."""
        return self._main[0] if self.alternate else self.lines

    def narrow(self, columns: int) -> None:
        """Become narrower, as terminals do: lines that are too long take several; the cursor stands below them all."""
        self.columns = columns
        parts = [range(0, max(len(line), 1), columns) for line in self.lines]
        self.lines = [line[at : at + columns] for line, places in zip(self.lines, parts, strict=True) for at in places]
        self.row = len(self.lines) - 1

    def _put(self, char: str) -> None:
        places = cell_width(char)
        if self.column + places > self.columns:
            self.wrapped += 1
            if not self.wraps:
                return
            self.column = 0
            self._down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + char + line[self.column + places :]
        self.column += places

    def _control(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        else:
            self.strange.append(char)

    def _deed(self, number: str, deed: str) -> None:
        if deed == "A":
            self.row = max(self.row - int(number or 1), max(len(self.lines) - self.height, 0))
        elif deed == "H":
            row, _, column = (number or "1;1").partition(";")
            self.row, self.column = int(row) - 1, int(column or 1) - 1
            self.lines += [""] * (self.row + 1 - len(self.lines))
        elif deed == "K":  # behind the last column the cursor still stands on it
            self.lines[self.row] = self.lines[self.row][: min(self.column, self.columns - 1)]
        elif deed == "J":
            if number == "2":
                self.lines[:] = [""] * len(self.lines)
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif number.startswith("?") and deed in "lh":
            self._mode(number, on=deed == "h")
        elif deed == "m":
            self.styles |= {*number.split(";")}
        else:
            self.strange.append(f"{number}{deed}")

    def _mode(self, number: str, *, on: bool) -> None:
        match number:
            case "?25":
                self.hidden = not on
            case "?7":
                self.wraps = on
            case "?1049" if on and not self.alternate:
                self._main = (self.lines, self.row, self.column)
                self.alternate, self.lines, self.row, self.column = True, [""], 0, 0
            case "?1049" if not on and self.alternate:
                self.alternate = False
                self.lines, self.row, self.column = self._main
            case _:
                self.strange.append(f"{number}{'h' if on else 'l'}")

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")
