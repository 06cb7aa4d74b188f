"""`python -m bench`: measures, prints the table, and writes it as JSON."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click
import msgspec
from rich.console import Console

from bench.figure import Figure
from bench.place import new_place
from bench.settings import Settings
from bench.suites import SUITES
from bench.table import table
from tests.integration.fabric import Fabric

WIDTH = 132  # characters: narrower, the table cannot be read


@click.command(help="Measure Loominal beside the raw NATS operations under it.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the medians are shown.")
@click.option("--only", multiple=True, type=click.Choice(list(SUITES)), help="Only these suites.")
@click.option("--quick", is_flag=True, help="Less of everything: rougher figures.")
@click.option("--large", is_flag=True, help="Also sizes that take minutes.")
def main(json_file: Path | None, rounds: int, only: tuple[str, ...], quick: bool, large: bool) -> None:
    """Run the benchmark."""
    settings = Settings(rounds=rounds, quick=quick, large=large)
    figures = asyncio.run(measure(settings, only or tuple(SUITES)))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table(figures))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode([each.told() for each in figures])))


async def measure(settings: Settings, names: tuple[str, ...]) -> list[Figure]:
    """Return the figures of the suites `names`, each in a project of its own."""
    progress = Console(stderr=True)
    figures = []
    with tempfile.TemporaryDirectory(prefix="loominal-bench-") as home:
        fabric = Fabric(Path(home), scale=1)
        try:
            fabric.start()
            for name in names:
                progress.print(f"[dim]measuring {name} ...[/dim]")
                async with new_place(fabric) as place:
                    figures += await SUITES[name](place, settings)
        finally:
            fabric.stop()
    return figures


if __name__ == "__main__":
    main()
