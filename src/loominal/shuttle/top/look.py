"""What the person at the screen has chosen to see: which list, its filter, its place. Keys change it."""

from __future__ import annotations

from collections.abc import Sequence

from loominal.shuttle.top.panes import Pane

LAST = 1 << 40  # the row that is chosen for the end of a list whose length is not known yet


class Look:
    """One person's choices."""

    def __init__(self, panes: Sequence[Pane]) -> None:
        self.panes = panes
        self.place = 0  # of the pane that is shown
        self.row = 0  # of the list, that is told in full
        self.top = 0  # row of the list that is the first on the screen
        self.only: str | None = None  # the status to which the list is narrowed
        self.words = ""  # the filter
        self.types = False  # the filter is being typed
        self.paused = False
        self.helps = False
        self.quits = False

    @property
    def pane(self) -> Pane:
        """The list that is shown."""
        return self.panes[self.place]

    @property
    def terms(self) -> dict[str, str]:
        """What of the filter narrows the list at the hub: `capability=python` where the list can be asked for it."""
        pairs = (word.partition("=") for word in self.words.split())
        return {name: value for name, _, value in pairs if name in self.pane.terms and value}

    @property
    def sought(self) -> str:
        """The text that rows must hold, in lower case: the rest of the filter."""
        words = self.words.casefold().split()
        return " ".join(word for word in words if word.partition("=")[0] not in self.pane.terms)

    @property
    def chosen(self) -> tuple[object, ...]:
        """What the list depends on; another one begins at its first row."""
        return self.place, self.only, self.words

    def press(self, key: str, rows: int) -> None:
        """Take a key, on a screen that shows `rows` rows of the list."""
        before = self.chosen
        if self.types:
            self._type(key)
        else:
            self._command(key)
        self._scroll(key, rows)
        if self.chosen != before:
            self.row = 0
        self.follow(rows)

    def end(self, total: int, rows: int) -> None:
        """Know that the list has `total` rows."""
        self.row = max(min(self.row, total - 1), 0)
        self.top = max(min(self.top, total - rows), 0)
        self.follow(rows)

    def follow(self, rows: int) -> None:
        """Have the chosen row among the `rows` on the screen."""
        self.top = max(min(self.top, self.row), self.row - rows + 1)

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self.types = False
            case "escape":
                self.types, self.words = False, ""
            case "backspace":
                self.words = self.words[:-1]
            case "clear":
                self.words = ""
            case _ if len(key) == 1:
                self.words += key

    def _command(self, key: str) -> None:
        helped, self.helps = self.helps, False  # any key ends the help
        match key:
            case "q":
                self.quits = not helped
            case "?":
                self.helps = not helped
            case "/":
                self.types = True
            case "escape":
                self.words, self.only = "", None
            case "p":
                self.paused = not self.paused
            case "s":
                choices = (None, *self.pane.statuses)
                self.only = choices[(choices.index(self.only) + 1) % len(choices)]
            case "tab":
                self._show(self.place + 1)
            case "back-tab":
                self._show(self.place - 1)
            case _ if key.isdecimal() and 1 <= int(key) <= len(self.panes):
                self._show(int(key) - 1)

    def _show(self, place: int) -> None:
        self.place, self.only, self.words = place % len(self.panes), None, ""

    def _scroll(self, key: str, rows: int) -> None:
        steps = {"up": -1, "down": 1, "page-up": -rows, "page-down": rows, "home": -LAST, "end": LAST}
        if not self.types:
            steps |= {"k": -1, "j": 1}
        self.row = min(max(self.row + steps.get(key, 0), 0), LAST)
