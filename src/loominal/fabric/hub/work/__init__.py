"""The hub's work: the book of items, claims and their leases, ends, and who is told."""
