"""Following items until they have ended, and how that looks."""
