"""Ends with 0 if the weft of this container answers /health: the container's HEALTHCHECK."""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 3.0


def main() -> int:
    """Ask where the runtime file says that weft listens. Its own certificate names other hosts: it is not checked."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE  # on loopback, and no bearer token is sent
    try:
        runtime = json.loads((Path(os.environ["LOOMINAL_HOME"]) / "fabric.json").read_text())
        with urllib.request.urlopen(f"{runtime['apiUrl']}/health", timeout=SECONDS, context=unchecked) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
        print(f"weft does not answer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
