"""The workflow that `github-actions` targets are made with, as linters of workflows judge it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[2] / "deploy" / "github" / "loominal-agent.yml"
LINTERS = {
    "actionlint": ("-no-color", "-shellcheck=", "-pyflakes="),  # the same whatever else is installed
    "zizmor": ("--offline", "--pedantic", "--no-progress", "--quiet"),
}


@pytest.mark.parametrize("name", LINTERS)
def test_the_shipped_workflow_has_no_finding(name: str, tmp_path: Path) -> None:
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    assert program, f"{name} is missing: it comes with the test requirements"
    bad = tmp_path / "bad.yml"
    text = WORKFLOW.read_text()
    assert text != text.replace('"$CLIENT"', "")
    bad.write_text(text.replace('"$CLIENT"', "${{ inputs.loominal_agent_type }} ${{ inputs.unknown }}"))

    found, told = (
        subprocess.run([program, *LINTERS[name], file], capture_output=True, text=True, timeout=60, check=False)
        for file in (bad, WORKFLOW)
    )

    assert found.returncode != 0, "it finds nothing in anything"
    assert told.returncode == 0, told.stdout + told.stderr
