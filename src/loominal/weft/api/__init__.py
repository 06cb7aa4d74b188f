"""Weft's HTTP interface."""
