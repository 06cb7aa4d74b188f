"""Messages in the hub: channels and inboxes, what was read of them, and the operations on them."""
