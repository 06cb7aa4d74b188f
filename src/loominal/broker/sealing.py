"""Sealed texts: for a place that others can read, between two sides that have one key. Weft seals enrolments with it.

`python -m loominal.broker.sealing` opens the one of a launch: where the agent of a GitHub workflow is started.
"""

from __future__ import annotations

import base64
import hmac
import os
import sys

from loominal.model.errors import InvalidArgument, LoominalError

LEAST_CHARACTERS = 32  # of a key; it is meant to be random
NONCE_BYTES = 12
PURPOSE = b"loominal sealed text 1"
KEY_VARIABLE = "LOOMINAL_GITHUB_KEY"
SEALED_VARIABLE = "LOOMINAL_SEALED_ENROLMENT"
LAUNCH_VARIABLE = "LOOMINAL_LAUNCH"


def seal(key: str, text: str, purpose: str) -> str:
    """Return `text` as one word that says nothing to whoever has not `key`. Raises: InvalidArgument for a short key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(_derived(key)).encrypt(nonce, text.encode(), purpose.encode())
    return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()


def opened(key: str, sealed: str, purpose: str) -> str:
    """Return what was sealed for `purpose`. Raises: InvalidArgument if it was not, or with another key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        data = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        return AESGCM(_derived(key)).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], purpose.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise InvalidArgument(
            "the sealed enrolment cannot be opened", f"{KEY_VARIABLE} has to be the same here and for weft"
        ) from error


def _derived(key: str) -> bytes:
    if len(key) < LEAST_CHARACTERS:
        raise InvalidArgument(
            f"{KEY_VARIABLE} has to have at least {LEAST_CHARACTERS} characters", "make one: openssl rand -base64 32"
        )
    return hmac.digest(key.encode(), PURPOSE, "sha256")


def main() -> None:
    """Print the enrolment that is sealed in this process's environment."""
    try:
        key, sealed, launch = (os.environ.get(name, "") for name in (KEY_VARIABLE, SEALED_VARIABLE, LAUNCH_VARIABLE))
        sys.stdout.write(opened(key.strip(), sealed, launch))
    except LoominalError as error:
        sys.exit(f"{error.message}; {error.hint}")


if __name__ == "__main__":
    main()
