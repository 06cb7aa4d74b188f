"""Spin-up: agents are started where work needs them, and ended where it does not."""
