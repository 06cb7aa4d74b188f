"""What all routes have in common: the parameters of lists and paths, and what else any of them may answer."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from litestar import delete, get, post, put
from litestar.params import Parameter

from loominal.fabric.operations.types import Arguments
from loominal.weft.api.problems import SPEC

Limit = Annotated[int, Parameter(query="limit", ge=1, le=100, description="How many entries at most.")]
Cursor = Annotated[
    str | None,
    Parameter(
        query="cursor",
        max_length=4096,
        schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},  # told, not checked here: it would not be `bad_cursor`
        description="nextCursor of the page before.",
    ),
]

reads = partial(get, responses=SPEC)
makes = partial(post, responses=SPEC)  # 201, unless it says another
does = partial(post, responses=SPEC, status_code=200)
sets = partial(put, responses=SPEC)
removes = partial(delete, responses=SPEC, status_code=200)


class Nothing(Arguments, frozen=True, kw_only=True):
    """A body without anything in it."""
