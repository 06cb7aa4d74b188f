"""The ways of starting agents, one file each beside `interface.py`."""
