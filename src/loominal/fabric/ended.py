"""What is answered to an agent that an operator has ended: by the hub, and by its own client once that was told."""

from __future__ import annotations

from loominal.model.errors import Forbidden
from loominal.model.names import one_line


def ended(reason: str) -> Forbidden:
    """Return the error; `reason` is the operator's, or empty."""
    why = f" ({one_line(reason)})" if reason else ""
    return Forbidden(
        f"an operator has ended this agent{why}", "what it held was handed back; nothing more can be done here"
    )
