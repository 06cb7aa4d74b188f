"""What of the commands has no effect, or two, is a usage error before anybody is asked."""

from __future__ import annotations

import click
import pytest

from loominal.shuttle.main import cli

REFUSED = (
    "submit",
    "submit text --jsonl -",
    "submit text --file -",
    "submit --file - --jsonl -",
    "submit --jsonl - --task-id t",
    "submit text --wait --dry-run",
    "submit text --priority 11",
    "submit text --max-attempts 0",
    "submit text --context [1]",
    "submit text --timeout soon",
    "submit text --notify everybody",
    "submit text --all-projects",
    "work list --status lost",
    "work list --limit 0",
    "work list --all-projects --mine",
    "work list --all-projects --cursor x",
    "work show w_1 --all-projects",
    "work cancel",
    "dlq retry",
    "dlq discard w_1 --all",
    "dlq retry w_1 --capability wool",
    "dlq discard w_1 --dry-run",
    "agents list --status asleep",
    "agents shutdown",
    "agents shutdown ada --now --grace 5",
    "agents shutdown ada --grace long",
    "agents revoke",
    "tell ada",
    "tell ada hello --timeout 5",
    "tell ada hello --wait --timeout soon",
    "tell ada hello --importance much",
    "tell ada@blog hello --wait",
    "tell ada hello --all-projects",
    "reply m_1 hello --timeout 5",
    "inbox --limit 0",
    "inbox --all-projects",
    "channels read general --limit 0",
    "channels send general",
    "config set colour red",
    "completion tcsh",
)


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_meant_is_a_usage_error(line: str) -> None:
    with pytest.raises(click.UsageError) as error:
        cli.main(line.split(), standalone_mode=False)

    assert error.value.exit_code == 2
