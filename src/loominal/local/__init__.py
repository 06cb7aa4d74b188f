"""The local life cycle: up, down, status, doctor, demo, connect, grant, invite and join."""
