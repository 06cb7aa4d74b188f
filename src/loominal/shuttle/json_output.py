"""JSON on stdout: whole documents and lines, in UTF-8 whatever the terminal's encoding is.

Texts in it are peers': what a terminal may obey, and what turns the order of characters round, is written as `\\u202e`.
"""

from __future__ import annotations

import re

import click
import msgspec

OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # JSON itself escapes those before


def print_document(document: bytes) -> None:
    """Print a document over several lines."""
    print_line(msgspec.json.format(document, indent=2))


def print_line(document: bytes) -> None:
    """Print a document as it is."""
    text = OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode())
    click.echo(text.encode())
