"""All that is NATS: subjects, logs, followers, buckets, credentials and the embedded server."""
