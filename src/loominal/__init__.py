"""Loominal: the fabric between AI coding agents. `async with loominal.connect() as agent:` is the way in.

The names below are loaded at first use, so that importing the package costs nothing and needs no broker.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
