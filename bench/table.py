"""The figures as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench.figure import Figure

MET = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}


def table(figures: Sequence[Figure]) -> Table:
    """Return one line for each figure, with its ratio to the raw operation and its target."""
    shown = Table(title="Loominal beside the raw operations under it", title_justify="left")
    for heading in ("figure", "raw operation", "target"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("Loominal", "raw", "ratio"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for each in figures:
        raw = "" if each.raw is None else f"{each.raw:.2f} {each.unit}"
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}x"
        shown.add_row(
            each.name, each.raw_name, f"{_target(each)} {MET[each.met]}", f"{each.value:.2f} {each.unit}", raw, ratio
        )
    return shown


def _target(figure: Figure) -> str:
    unit = "x" if figure.raw is not None else f" {figure.unit}"
    if figure.at_most is not None:
        return f"<= {figure.at_most:g}{unit}"
    return f">= {figure.at_least:g}{unit}" if figure.at_least is not None else ""
