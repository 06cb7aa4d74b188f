"""What exists in Loominal: plain values and their rules. Awaits nothing, reads no clock and no environment."""
