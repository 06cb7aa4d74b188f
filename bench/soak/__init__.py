"""A long quiet day in minutes: many agents work, talk, wait, come and go, and nothing may grow."""
