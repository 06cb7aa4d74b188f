"""Targets as a person writes them: flags, documents, and what becomes of them."""
