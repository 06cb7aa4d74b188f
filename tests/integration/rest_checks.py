"""What schemathesis is told of our interface, as its hooks: which refusals no schema can say."""

from __future__ import annotations

import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.specs.openapi.checks import positive_data_acceptance

UNSAID = re.compile(
    r"cursor|no such time|control characters|must be 1-100 characters|named twice|at most|are allowed"
    r"|name two|in the query and .* in the body|behind its end|of which field|a later one|ends within"
    r"|got `float`"  # 4.0 is an integer to a schema
    r"|^config"  # what it may hold depends on the mechanism
    r"|if_match"  # the quotes of an ETag get lost on the way
)  # of what hangs on another value, on the time, on Unicode


@schemathesis.check
def accepted(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Hold that what a schema allows is not refused as invalid, but for what it cannot say."""  # Any: of any operation
    if response.status_code == 412:  # the version is another one
        return None
    if response.status_code == 422 and UNSAID.search(response.json()["detail"]):
        return None
    return positive_data_acceptance(ctx, response, case)
