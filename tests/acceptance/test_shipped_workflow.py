"""The shipped workflows, as linters of workflows judge them: what targets start, and what hands work out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "github"
WORKFLOWS = {
    "loominal-agent.yml": ('"$CLIENT"', "${{ inputs.loominal_agent_type }} ${{ inputs.unknown }}"),
    "submit-work.yml": ('"$DESCRIPTION"', "${{ inputs.description }} ${{ inputs.unknown }}"),
}  # workflow -> what is put into its script instead of what, for a bad one
LINTERS = {
    "actionlint": ("-no-color", "-shellcheck=", "-pyflakes="),  # the same whatever else is installed
    "zizmor": ("--offline", "--pedantic", "--no-progress", "--quiet"),
}


@pytest.mark.parametrize("workflow", WORKFLOWS)
@pytest.mark.parametrize("name", LINTERS)
def test_a_shipped_workflow_has_no_finding(name: str, workflow: str, tmp_path: Path) -> None:
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    assert program, f"{name} is missing: it comes with the test requirements"
    bad = tmp_path / "bad.yml"
    good, worse = WORKFLOWS[workflow]
    text = (FOLDER / workflow).read_text()
    assert good in text
    bad.write_text(text.replace(good, worse))

    found, told = (
        subprocess.run([program, *LINTERS[name], file], capture_output=True, text=True, timeout=60, check=False)
        for file in (bad, FOLDER / workflow)
    )

    assert found.returncode != 0, "it finds nothing in anything"
    assert told.returncode == 0, told.stdout + told.stderr
