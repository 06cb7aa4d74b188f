"""Weft's HTTP interface as a test asks it, with a bearer token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from loominal.fabric.runtime_file import read_runtime
from tests.patience import SOON

Json = Any  # Any: answers as they are on the wire


class Api:
    """The interface of the weft in one home."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, **query: str | int) -> Json:
        """Return the answer; it must be 200."""
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Json = None, *, status: int = 200) -> Json:
        """Return the answer, which must have `status`."""
        answer = await self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@asynccontextmanager
async def open_api(home: Path, bearer_token: str = "") -> AsyncIterator[Api]:
    """Yield the interface of `home`'s weft, with the fabric's own bearer token unless another is given."""
    runtime = read_runtime(home)
    assert runtime is not None
    shown = bearer_token or (home / "api.token").read_text().strip()
    headers = {"Authorization": f"Bearer {shown}"}
    async with httpx2.AsyncClient(base_url=runtime.api_url, headers=headers, timeout=SOON) as client:
        yield Api(client)
