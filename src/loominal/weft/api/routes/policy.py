"""A project's policy by HTTP. Its ETag is the version that If-Match asks for."""

from __future__ import annotations

from msgspec.structs import replace

from loominal.fabric.operations.policy import GetPolicy, PolicyView, SetPolicy
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import ETAG, IfMatch, reads, sets, tagged, version_of


@reads("/policy", response_headers=[ETAG])
async def get_policy(asker: Asker) -> Answer[PolicyView]:
    """Return the policy that holds."""
    return _tagged(await asker.view("get_policy", GetPolicy(), PolicyView))


@sets("/policy", response_headers=[ETAG])
async def set_policy(asker: Asker, data: SetPolicy, if_match: IfMatch = None) -> Answer[PolicyView]:
    """Replace the policy, at once for everybody. 412 if it is not the one that If-Match names."""
    if (version := version_of(if_match)) is not None:
        data = replace(data, version=version)
    return _tagged(await asker.view("set_policy", data, PolicyView))


def _tagged(policy: PolicyView) -> Answer[PolicyView]:
    return Answer(policy, headers=tagged(policy.version))


POLICY = (get_policy, set_policy)
