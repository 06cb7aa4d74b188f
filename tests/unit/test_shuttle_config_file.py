"""The file of the settings, where it is none."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from loominal.model.errors import InvalidArgument
from loominal.shuttle.config import Config


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Something that is read like a file, and that others can read; so are /dev/null and <(…) of a shell."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    path.chmod(0o644)
    return path


def test_what_is_no_file_keeps_its_mode(pipe: Path) -> None:
    writer = threading.Thread(target=pipe.write_text, args=('output = "json"',))
    writer.start()

    config = Config.read(pipe, {})
    writer.join()

    assert (config.text("output"), config.mended, stat.S_IMODE(pipe.stat().st_mode)) == ("json", False, 0o644)


def test_what_is_no_file_does_not_become_one(pipe: Path) -> None:
    with pytest.raises(InvalidArgument, match="is no file"):
        Config(pipe, {}).set("output", "json")

    assert pipe.is_fifo()


def test_a_mark_of_the_byte_order_is_none_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "shuttle.toml"
    file.write_text('output = "json"', "utf-8-sig")

    assert Config.read(file, {}).text("output") == "json"


def test_of_two_who_set_something_at_once_both_have(tmp_path: Path) -> None:
    file = tmp_path / "shuttle.toml"
    one, other = Config.read(file, {}, new=True), Config.read(file, {}, new=True)

    one.set("output", "json")
    other.set("default-priority", "7")
    one.set("default-boundary", "personal")
    other.set("output", "")

    assert file.read_text() == 'default-boundary = "personal"\ndefault-priority = 7\n'


def test_whoever_sets_something_waits_for_who_is_at_it(tmp_path: Path) -> None:
    setting = [
        threading.Thread(target=Config(tmp_path / "shuttle.toml", {}).set, args=each)
        for each in [("output", "json"), ("default-priority", "7"), ("default-boundary", "personal")] * 5
    ]
    for each in setting:
        each.start()
    for each in setting:
        each.join()

    assert len(Config.read(tmp_path / "shuttle.toml", {}).values) == 3
