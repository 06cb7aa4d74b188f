"""A project's policy by HTTP. Its ETag is the version that If-Match asks for."""

from __future__ import annotations

import re
from typing import Annotated

from litestar.datastructures import ResponseHeader
from litestar.params import Parameter
from msgspec.structs import replace

from loominal.fabric.operations.policy import GetPolicy, PolicyView, SetPolicy
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import reads, sets

TAG = re.compile(r'"([0-9]{1,18})"')
ETAG = ResponseHeader(name="ETag", description="The version, in quotes.", documentation_only=True, required=True)
IfMatch = Annotated[
    str | None,
    Parameter(
        header="If-Match",
        pattern=rf"^({TAG.pattern}|\*)$",
        description="The ETag of the policy to replace; `*`: whichever.",
    ),
]


@reads("/policy", response_headers=[ETAG])
async def get_policy(asker: Asker) -> Answer[PolicyView]:
    """Return the policy that holds."""
    return _tagged(await asker.view("get_policy", GetPolicy(), PolicyView))


@sets("/policy", response_headers=[ETAG])
async def set_policy(asker: Asker, data: SetPolicy, if_match: IfMatch = None) -> Answer[PolicyView]:
    """Replace the policy, at once for everybody. 412 if it is not the one that If-Match names."""
    if tag := TAG.fullmatch(if_match or ""):
        data = replace(data, version=int(tag[1]))
    return _tagged(await asker.view("set_policy", data, PolicyView))


def _tagged(policy: PolicyView) -> Answer[PolicyView]:
    return Answer(policy, headers={"ETag": f'"{policy.version}"'})


POLICY = (get_policy, set_policy)
