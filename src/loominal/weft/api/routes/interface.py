"""What all routes have in common: the parameters of lists and paths, and what else any of them may answer."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from litestar import delete, get, post, put
from litestar.datastructures import ResponseHeader
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

TAG = re.compile(r'"([0-9]{1,18})"')
ETAG = ResponseHeader(name="ETag", description="The version, in quotes.", documentation_only=True, required=True)
IfMatch = Annotated[
    str | None,
    Parameter(
        header="If-Match",
        pattern=rf"^({TAG.pattern}|\*)$",
        description="The ETag of what is to be replaced; `*`: whichever.",
    ),
]

reads = partial(get, responses=SPEC)
makes = partial(post, responses=SPEC)  # 201, unless it says another
does = partial(post, responses=SPEC, status_code=200)
sets = partial(put, responses=SPEC)
removes = partial(delete, responses=SPEC, status_code=200)


def tagged(version: int) -> dict[str, str]:
    """Return the headers that say a version."""
    return {"ETag": f'"{version}"'}


def version_of(if_match: str | None) -> int | None:
    """Return the version that If-Match names; None for whichever."""
    tag = TAG.fullmatch(if_match or "")
    return int(tag[1]) if tag else None


class Nothing(Arguments, frozen=True, kw_only=True):
    """A body without anything in it."""
