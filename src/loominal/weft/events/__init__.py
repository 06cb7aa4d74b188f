"""Live events: what happens in projects, in the order of their logs, for those who read along."""
