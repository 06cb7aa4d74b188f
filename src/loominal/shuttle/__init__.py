"""Shuttle: the command line of the fleet."""
