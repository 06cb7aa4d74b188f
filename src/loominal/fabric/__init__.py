"""The operations of a project: requests and answers, the client, and the hub that answers."""
