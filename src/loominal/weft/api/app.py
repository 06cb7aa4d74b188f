"""The HTTP application: which routes there are, who may use them, and how an error becomes an answer."""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

import loominal
from loominal.weft.fabric import Fabric

PROBLEM = "application/problem+json"
CODES = {401: "forbidden", 403: "forbidden", 404: "not_found", 405: "not_found"}


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That weft itself is alive; it says nothing of the broker."""

    status: str = "ok"
    version: str = loominal.__version__


class Ready(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the fabric serves, and if not, why."""

    ready: bool
    reasons: list[str]


class Activity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who uses the fabric now."""

    agents: int  # online
    open_work: int  # items that have not ended


class ProjectView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A project in a list."""

    project_id: str
    project: str
    leader: str = ""  # the weft that leads it, as far as this one has it loaded


class ProjectList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every project that the fabric knows."""

    projects: list[ProjectView]
    total: int
    wefts: list[str]  # that are alive


@get("/health", sync_to_thread=False)
def health() -> Health:
    """Return that weft runs."""
    return Health()


@get("/ready", sync_to_thread=False)
def ready(state: State) -> Response[Ready]:
    """Return 200 if the fabric serves everybody, else 503 with the reasons."""
    fabric: Fabric = state.fabric
    reasons = fabric.reasons()
    return Response(Ready(ready=not reasons, reasons=reasons), status_code=503 if reasons else 200)


@get("/activity", sync_to_thread=False)
def activity(state: State) -> Response[Activity]:
    """Return who uses the fabric; 503 while that is not known."""
    fabric: Fabric = state.fabric
    known = fabric.activity()
    agents, open_work = known or (0, 0)
    return Response(Activity(agents=agents, open_work=open_work), status_code=503 if known is None else 200)


@get("/projects", sync_to_thread=False)
def projects(state: State) -> ProjectList:
    """Return every project that the fabric knows."""
    fabric: Fabric = state.fabric
    leaders = fabric.leaders()
    found = [
        ProjectView(project_id=project, project=title, leader=leaders.get(project, ""))
        for project, title in fabric.titles().items()
    ]
    return ProjectList(projects=found, total=len(found), wefts=fabric.wefts())


def application(fabric: Fabric, bearer_token: str) -> Litestar:
    """Return the application; whoever brings `bearer_token` may ask for everything."""
    guarded = Router(path="/api", route_handlers=[activity, projects], guards=[_bearer(bearer_token)])
    return Litestar(
        route_handlers=[health, ready, guarded],
        state=State({"fabric": fabric}),
        exception_handlers={HTTPException: _problem},
        openapi_config=None,
        logging_config=None,  # logging is the program's
    )


def _bearer(bearer_token: str) -> Guard:
    expected = f"Bearer {bearer_token}".encode()

    # Any: the connection's own type variables, of which nothing is used
    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        given = connection.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise NotAuthorizedException("this route needs a bearer token")

    return guard


def _problem(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, object]]:  # Any: as above
    status = error.status_code
    hint = "`loominal status --json` names the file that holds it" if status == 401 else ""
    return Response(
        {
            "type": "about:blank",
            "title": error.__class__.__name__,
            "status": status,
            "detail": error.detail,
            "code": CODES.get(status, "internal" if status >= 500 else "invalid_argument"),
            "hint": hint,
        },
        status_code=status,
        media_type=PROBLEM,
    )
