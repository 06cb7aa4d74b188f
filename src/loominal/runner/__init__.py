"""The worker: claims items, has a headless client do each, and says how it ended. `loominal agent run` is it."""
