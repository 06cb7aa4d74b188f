"""`loominal connect`: write Loominal into the configuration of agent clients, and take it out again."""

from __future__ import annotations

from loominal.local.connect.command import connect

__all__ = ["connect"]
