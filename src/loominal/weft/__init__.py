"""Weft: the coordinator service. Leads projects, starts and stops agents, serves REST, events and metrics."""
