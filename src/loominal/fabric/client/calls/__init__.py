"""The methods of an agent, one per operation, one file per noun as in `fabric/operations`."""

from __future__ import annotations

from loominal.fabric.client.calls.every import EveryCall

__all__ = ["EveryCall"]
