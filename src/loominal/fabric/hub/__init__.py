"""The hub: answers every operation of a project and keeps its books in the broker's logs."""
