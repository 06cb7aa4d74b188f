"""`python -m chaos --seed 7 --rounds 30`: faults decided by the seed, then the check. `make chaos` calls it."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import click

from chaos.run import Settings, run

MOST_SEEDS = 1 << 31
SHOWN = 40  # violations


@click.command(help="Run real agents under seeded faults, then check that nothing accepted was lost or doubled.")
@click.option("--seed", type=int, help="Decides everything that we decide; default: a new one.")
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(1), help="Faults, one after the other.")
@click.option("--wefts", default=1, show_default=True, type=click.IntRange(1), help="Coordinators of the fabric.")
@click.option("--open", "without_keys", is_flag=True, help="On a broker without keys of ours, where all is on trust.")
@click.option("--keep", type=click.Path(path_type=Path), help="Run in this new directory and keep it.")
def main(seed: int | None, rounds: int, wefts: int, keep: Path | None, *, without_keys: bool) -> None:
    """Run chaos; the process ends with 1 if anything is wrong."""
    seed = random.randrange(MOST_SEEDS) if seed is None else seed
    settings = Settings(seed=seed, rounds=rounds, wefts=wefts, without_keys=without_keys)
    again = f"make chaos SEED={seed} ROUNDS={rounds} WEFTS={wefts}{' OPEN=1' if without_keys else ''}"
    click.echo(f"{again} does this again")
    with tempfile.TemporaryDirectory(prefix="loominal-chaos-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(exist_ok=True)
        outcome = asyncio.run(run(settings, directory.absolute(), click.echo))
    click.echo(f"{outcome.items} items and {outcome.messages} messages accepted in {outcome.seconds:.0f} s")
    click.echo(f"{outcome.flow}; the project was left unused {outcome.left} times")
    if not outcome.violations:
        click.echo("nothing lost, nothing doubled")
        return
    for violation in outcome.violations[:SHOWN]:
        click.echo(f"- {violation}", err=True)
    click.echo(f"{len(outcome.violations)} violations; again: {again}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
