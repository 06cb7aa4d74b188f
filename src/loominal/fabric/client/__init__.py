"""The Python client: `connect` gives an `Agent` with one method per operation."""

from __future__ import annotations

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect, open_agent
from loominal.fabric.client.settings import ClientSettings

__all__ = ["Agent", "ClientSettings", "connect", "open_agent"]
