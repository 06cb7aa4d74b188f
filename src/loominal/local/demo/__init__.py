"""`loominal demo`: a small fleet does real work on this machine, and what came of it is checked."""

from __future__ import annotations

from loominal.local.demo.command import demo

__all__ = ["demo"]
