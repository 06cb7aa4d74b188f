"""What is read of `weft.toml` before weft is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from loominal.local.lending import lent_variables, nothing_allowed


@pytest.mark.parametrize(
    ("text", "allows"),
    [
        (None, False),
        ("[policy]\ncrossProject = false\n", False),
        ('[allow]\nenv = ["KEY"]\n', False),
        ('[allow]\nmechanisms = ["local"]\n', True),
        ("[allow\n", True),  # weft does not start with it, and says why
    ],
)
def test_what_allows_no_mechanism_is_told_with_its_place(tmp_path: Path, text: str | None, *, allows: bool) -> None:
    file = tmp_path / "weft.toml"
    if text is not None:
        file.write_text(text)

    said = nothing_allowed({"LOOMINAL_HOME": str(tmp_path)})

    assert bool(said) is not allows
    assert allows or str(file) in said


def test_the_file_may_lie_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[allow]\nmechanisms = ["ssh"]\nenv = ["KEY"]\n')
    environ = {"LOOMINAL_HOME": str(tmp_path), "LOOMINAL_WEFT_CONFIG": str(file), "KEY": "value"}

    assert nothing_allowed(environ) == ""
    assert lent_variables(environ) == {"KEY": "value"}
