"""Everything that Loominal needs at run time may be used from MIT-licensed code."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).parents[2] / "requirements.lock"
PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Zlib")
FILE_LEVEL = {"certifi", "pathspec"}  # MPL-2.0, used as they are: only changes to their own files would be bound


def licence(name: str) -> str:
    """Return what an installed distribution says of its licence, in any of the three places it may say so."""
    told = metadata.metadata(name)
    classifiers = [line for line in told.get_all("Classifier", []) if line.startswith("License ::")]
    return " ".join([*told.get_all("License-Expression", []), *told.get_all("License", []), *classifiers])


def test_every_run_time_dependency_has_a_permissive_licence() -> None:
    locked = [Requirement(line.rstrip("\\ ")) for line in LOCK.read_text().splitlines() if line[:1].isalnum()]
    needed = [each.name for each in locked if each.marker is None or each.marker.evaluate()]

    told = {name: licence(name) for name in needed if name not in FILE_LEVEL}

    assert {name: text for name, text in told.items() if not PERMISSIVE.search(text)} == {}
