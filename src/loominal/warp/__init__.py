"""Warp: the MCP server that an agent starts, one process per agent."""
