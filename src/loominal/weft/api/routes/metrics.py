"""Metrics by HTTP, for Prometheus."""

from __future__ import annotations

from litestar import Response, get
from litestar.datastructures import State

from loominal.weft.api.problems import AT_THE_DOOR, SPEC, AnyRequest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@get("/metrics", media_type=MEDIA_TYPE, responses={each: SPEC[each] for each in (401, 500, 503)} | AT_THE_DOOR)
async def metrics(request: AnyRequest, state: State) -> Response[bytes]:
    """Return this weft's metrics in Prometheus' text format; to a bearer token of some projects only of these."""
    from loominal.weft.metrics.text import metrics_text  # most wefts are never asked

    only = request.scope["state"]["identity"].projects
    return Response(await metrics_text(state.fabric, state.tally, only), media_type=MEDIA_TYPE)
