"""Who leads a project, and what only a leader does."""
