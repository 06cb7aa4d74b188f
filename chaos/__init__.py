"""Real agents, wefts and a broker under seeded faults, and the check that nothing accepted was lost or doubled."""
