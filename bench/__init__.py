"""What Loominal costs, each figure beside the raw NATS operation under it: `make bench`."""
