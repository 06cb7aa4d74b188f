"""Across projects: agents that are public are found and told from other projects of the fabric that take part."""
