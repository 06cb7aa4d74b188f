"""The HTTP application: which routes there are, who may use them, and how an error becomes an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import Litestar, Router, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

import loominal
from loominal.fabric.operations.types import View
from loominal.model.errors import LoominalError
from loominal.weft.api import problems
from loominal.weft.api.asker import Answer, asker
from loominal.weft.api.bodies import Body, only_known_queries, query_names
from loominal.weft.api.desk import Desk
from loominal.weft.api.docs import Page, openapi_document
from loominal.weft.api.doors import BODY_BYTES
from loominal.weft.api.routes import ROUTES
from loominal.weft.api.routes.metrics import metrics
from loominal.weft.api.tally import HttpTally
from loominal.weft.api.tokens import Tokens
from loominal.weft.events.readers import Readers
from loominal.weft.fabric import Fabric

OPEN = "open"  # the option of a route that needs no bearer token
SCHEME = "bearer"


class Health(View, frozen=True, kw_only=True):
    """That weft itself is alive; it says nothing of the broker."""

    status: str = "ok"
    version: str = loominal.__version__


class Ready(View, frozen=True, kw_only=True):
    """Whether the fabric serves, and if not, why."""

    ready: bool
    reasons: tuple[str, ...]


@get("/health", sync_to_thread=False, opt={OPEN: True}, security=[{}], responses=problems.AT_THE_DOOR)
def health() -> Answer[Health]:
    """Return that weft runs."""
    return Answer(Health())


@get(
    "/ready",
    sync_to_thread=False,
    opt={OPEN: True},
    security=[{}],
    responses={503: problems.NOT_READY} | problems.AT_THE_DOOR,
)
def ready(state: State) -> Answer[Ready]:
    """Return 200 if the fabric serves everybody, else 503 with the reasons."""
    fabric: Fabric = state.fabric
    reasons = tuple(fabric.reasons())
    return Answer(Ready(ready=not reasons, reasons=reasons), status_code=503 if reasons else 200)


def application(
    fabric: Fabric, desk: Desk, tokens: Tokens, home_project: str, tally: HttpTally, home: Path
) -> Litestar:
    """Return the application. `home_project` is meant where neither request nor bearer token names one, "" for none.

    `home` is where the runtime file of this fabric lies.
    """
    behind_token = Router(
        path="/api",
        route_handlers=[*ROUTES, openapi_document],
        dependencies={"asker": Provide(asker)},
        dto=Body,
        return_dto=None,
        before_request=only_known_queries,
    )
    state = {
        "fabric": fabric,
        "desk": desk,
        "tokens": tokens,
        "home_project": home_project,
        "tally": tally,
        "home": home,
    }
    app = Litestar(
        route_handlers=[health, ready, metrics, behind_token],
        state=State({**state, "readers": Readers(tokens, tally)}),
        guards=[let_in],
        exception_handlers={
            LoominalError: problems.of_loominal,
            HTTPException: problems.of_http,
            Exception: problems.of_bug,
        },
        openapi_config=OpenAPIConfig(
            title="Loominal",
            version=loominal.__version__,
            description="Weft's HTTP interface: work, agents, dead letters, policy and events of a fabric.",
            path="/api/docs",
            components=Components(security_schemes={SCHEME: SecurityScheme(type="http", scheme="bearer")}),
            security=[{SCHEME: []}],
            render_plugins=[Page(path="/")],
            use_handler_docstrings=True,
        ),
        request_max_body_size=BODY_BYTES,
        logging_config=None,  # logging is the program's
    )
    app.state.queries = query_names(app)
    return app


# Any: the connection's own type variables, of which nothing is used
def let_in(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Take note who asks. Raises: NotAuthorizedException without a bearer token that is good."""
    if handler.opt.get(OPEN):
        return
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    identity = connection.app.state.tokens.identify(text.strip()) if scheme.lower() == "bearer" else None
    if identity is None:
        raise NotAuthorizedException("this route needs a bearer token that is known, not revoked and has not ended")
    connection.scope["state"]["identity"] = identity
