"""Agents in the hub: registry, handles, presence, who may see whom, and the operations on them."""
