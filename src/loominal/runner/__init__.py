"""The worker loop of `loominal agent run`: claims items and runs a headless client for each."""
