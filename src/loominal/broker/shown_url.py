"""A broker's URL as people may see it. Logs, `status` and errors show it so."""

from __future__ import annotations

import re


def shown_url(url: str) -> str:
    """Return `url` (or several, joined by commas) without the user and password it may hold."""
    return re.sub(r"(?<=//)[^/@,]*@", "", url)
