"""What a user installs: the wheel, built from the sdist, gives the four programs in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import loominal

ROOT = Path(__file__).parents[2]


def run(*command: str | Path) -> str:
    """Return what a command prints, outside the checkout. Fails the test with its output if the command fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", stdin=subprocess.DEVNULL, timeout=90, check=False
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs' directory of an environment that holds the built wheel and nothing else of ours.

    The dependencies are those of the environment that runs the tests, so that nothing is downloaded.
    """
    dist, home = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT)
    [wheel] = dist.glob("*.whl")

    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    site_packages = sysconfig.get_path("purelib", vars={"base": str(home)})
    Path(site_packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    assert run(python, "-c", "import loominal; print(loominal.__file__)").startswith(str(home))
    return home / "bin"


@pytest.mark.parametrize("program", ["warp", "weft", "shuttle", "loominal"])
def test_an_installed_program_says_its_version(installed: Path, program: str) -> None:
    assert loominal.__version__ in run(installed / program, "--version")


@pytest.mark.parametrize("program", ["warp", "weft", "shuttle", "loominal"])
def test_an_installed_program_says_how_to_use_it(installed: Path, program: str) -> None:
    assert program in run(installed / program, "--help")


def test_the_package_runs_as_a_module(installed: Path) -> None:
    assert loominal.__version__ in run(installed / "python", "-m", "loominal", "--version")


def test_the_wheel_carries_its_types_and_licence(installed: Path) -> None:
    listed = run(installed / "python", "-c", "import importlib.metadata as m; print(*m.files('loominal'), sep='\\n')")

    assert "loominal/py.typed" in listed
    assert "licenses/LICENSE" in listed
