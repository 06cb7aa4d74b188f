"""What runs here and what project this is: files that others write, read without trust."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loominal.fabric.project_id import find_project
from loominal.fabric.runtime_file import (
    Mode,
    Runtime,
    read_runtime,
    remove_runtime,
    runtime_path,
    write_runtime,
)
from loominal.fabric.state_directory import home_directory
from loominal.model.errors import InvalidArgument, UpgradeNeeded
from loominal.model.names import project_of_path

RUNTIME = Runtime(
    mode=Mode.EMBEDDED,
    url="nats://127.0.0.1:4222",
    nats_pid=11,
    weft_pid=12,
    started_at=datetime(2026, 1, 31, 18, tzinfo=UTC),
    version="0.1.0",
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_runtime(tmp_path, RUNTIME)
    assert read_runtime(tmp_path) == RUNTIME
    assert stat.S_IMODE(runtime_path(tmp_path).stat().st_mode) == 0o600
    assert '"v": 1' in runtime_path(tmp_path).read_text()


def test_without_a_file_nothing_runs(tmp_path: Path) -> None:
    assert read_runtime(tmp_path / "nowhere") is None
    remove_runtime(tmp_path)
    write_runtime(tmp_path, RUNTIME)
    remove_runtime(tmp_path)
    assert read_runtime(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 1}', '{"v": 1, "mode": "other", "url": "x"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    runtime_path(tmp_path).write_text(text)
    with pytest.raises(InvalidArgument, match=r"fabric\.json"):
        read_runtime(tmp_path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    runtime_path(tmp_path).write_text('{"v": 2, "mode": "unheard-of"}')
    with pytest.raises(UpgradeNeeded):
        read_runtime(tmp_path)


def test_home_is_where_the_environment_says(tmp_path: Path) -> None:
    assert home_directory({"LOOMINAL_HOME": str(tmp_path)}) == tmp_path
    assert home_directory({"HOME": "/h", "XDG_STATE_HOME": "/s"}) == Path("/s/loominal")
    assert home_directory({"HOME": "/h", "XDG_STATE_HOME": "relative"}) == Path("/h/.local/state/loominal")


def test_a_name_given_or_in_the_environment_decides(tmp_path: Path) -> None:
    assert find_project(tmp_path, name="shop", variable="bar").id == "shop"
    named = find_project(tmp_path, variable="bar")
    assert (named.id, named.title, named.why) == ("bar", "bar", "LOOMINAL_PROJECT_ID says so")
    with pytest.raises(InvalidArgument):
        find_project(tmp_path, name="No Good")


def test_the_nearest_project_file_decides(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".loominal.toml").write_text('project = "outer"\n')
    assert find_project(below).id == "outer"
    (tmp_path / "a" / ".loominal.toml").write_text('project = "inner"\n')
    assert find_project(below).id == "inner"


@pytest.mark.parametrize("text", ["project = ", "project = 7", 'project = "No Good"', "\udcff"])
def test_a_malformed_project_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / ".loominal.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidArgument):
        find_project(tmp_path)


def test_a_plain_directory_is_its_own_project_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert find_project(tmp_path / "link").id == project_of_path(str(tmp_path / "real"))
    assert find_project(tmp_path / "link").title == str(tmp_path / "real")


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git makes the checkouts")


def git(place: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(("git", *identity, *arguments), cwd=place, check=True, capture_output=True, timeout=30)


@needs_git
def test_worktrees_and_subdirectories_share_the_main_worktrees_project(tmp_path: Path) -> None:
    main, linked = tmp_path / "main", tmp_path / "linked"
    (main / "src").mkdir(parents=True)
    git(main, "init", "-q")
    git(main, "commit", "-q", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", "-q", str(linked))
    (linked / "src").mkdir()

    found = [find_project(place) for place in (main, main / "src", linked, linked / "src")]

    assert {project.id for project in found} == {project_of_path(str(main))}
    assert found[0].why == f"{main} is the root of the git checkout"


@needs_git
def test_a_submodule_is_a_project_of_its_own(tmp_path: Path) -> None:
    part, whole = tmp_path / "part", tmp_path / "whole"
    for place in (part, whole):
        place.mkdir()
        git(place, "init", "-q")
        git(place, "commit", "-q", "--allow-empty", "-m", "first")
    git(whole, "submodule", "--quiet", "add", str(part), "sub")

    assert find_project(whole / "sub").title == str(whole / "sub")


@needs_git
def test_worktrees_of_a_bare_repository_share_it(tmp_path: Path) -> None:
    bare = tmp_path / "shop.git"
    bare.mkdir()
    (tmp_path / "seed").mkdir()
    git(bare, "init", "-q", "--bare")
    git(tmp_path / "seed", "clone", "-q", str(bare), ".")
    git(tmp_path / "seed", "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path / "seed", "push", "-q", "origin", "HEAD:one", "HEAD:two")
    for name in ("one", "two"):
        git(bare, "worktree", "add", "-q", str(tmp_path / name), name)

    assert find_project(tmp_path / "one").title == find_project(tmp_path / "two").title == str(bare)
