"""`python -m loominal`: the same program as `loominal`."""

from __future__ import annotations

from loominal.local.main import main

if __name__ == "__main__":
    main()
