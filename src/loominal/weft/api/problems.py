"""How an error becomes an HTTP answer: RFC 9457 problem details, by one table of codes."""

from __future__ import annotations

import logging
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from loominal.model.errors import IllegalMove, LoominalError
from loominal.weft.api import request_id

PROBLEM = "application/problem+json"
RETRY_SECONDS = 1  # after which what is busy or away may be asked again
STATUSES = {
    "invalid_argument": 422,
    "bad_cursor": 422,
    "too_large": 413,
    "not_found": 404,
    "unknown_channel": 404,
    "forbidden": 403,
    "boundary_refused": 403,
    "not_capable": 403,
    "not_owner": 403,
    "not_registered": 409,
    "handle_taken": 409,
    "illegal_move": 409,
    "lease_lost": 409,
    "duplicate": 409,
    "inbox_full": 429,
    "busy": 429,
    "quota_exceeded": 503,
    "upgrade_needed": 503,
    "wrong_fabric": 503,
    "broker_unavailable": 503,
    "hub_unavailable": 503,
}  # code -> status; any other code is a bug of ours: 500
CODES = {401: "forbidden", 403: "forbidden", 404: "not_found", 413: "too_large", 429: "busy", 503: "busy"}
HINTS = {
    401: "send `Authorization: Bearer …`; `loominal status --json` names the file of the fabric's own bearer token",
    405: "/api/openapi.json lists the routes with their methods",
    404: "/api/openapi.json lists the routes",
    413: "push a branch or give a URL instead of the content",
}

log = logging.getLogger(__name__)

AnyRequest: TypeAlias = Request[Any, Any, Any]  # Any: the request's own type variables, of which nothing is used


NOT_READY = ResponseSpec(None, description="The fabric does not serve everybody.", generate_examples=False)


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, and what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    request_id: str = msgspec.field(default="", name="requestId")  # by which weft's log knows the request


SPEC = {
    status: ResponseSpec(ProblemDetails, description=text, media_type=PROBLEM, generate_examples=False)
    for status, text in {
        400: "The request is malformed.",
        401: "No bearer token that is good.",
        403: "The bearer token does not allow it.",
        404: "There is no such thing.",
        409: "It cannot be done as things stand.",
        412: "It is not the one that If-Match names.",
        413: "It is too large.",
        421: "The Host header names another place.",
        422: "An argument is invalid.",
        429: "Too much at once.",
        500: "A bug of Loominal's.",
        503: "The fabric cannot do it now.",
    }.items()
}  # what any route behind the bearer token may answer
AT_THE_DOOR = {status: SPEC[status] for status in (403, 421, 429)}  # and any route at all


def answer(status: int, detail: str, code: str = "", hint: str = "") -> Response[ProblemDetails]:
    """Return the answer that says what is wrong."""
    problem = ProblemDetails(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code or CODES.get(status, "internal" if status >= 500 else "invalid_argument"),
        hint=hint or HINTS.get(status, ""),
        request_id=request_id.current(),
    )
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Response(problem, status_code=status, media_type=PROBLEM, headers=headers)


def of_loominal(request: AnyRequest, error: LoominalError) -> Response[ProblemDetails]:
    """Return the answer to one of our errors; what is not as If-Match said is 412 (RFC 9110, 13.1.1)."""
    unmatched = error.code == IllegalMove.code and "if-match" in request.headers
    return answer(412 if unmatched else STATUSES.get(error.code, 500), error.message, error.code, error.hint)


def of_http(request: AnyRequest, error: HTTPException) -> Response[ProblemDetails]:
    """Return the answer to an error of the HTTP layer: no route, no bearer token, an argument that cannot be read."""
    if isinstance(error, ValidationException):
        return answer(422, _invalid(error), hint=_choices(request, error))
    known = error.status_code in {each.value for each in HTTPStatus}
    found = answer(error.status_code if known else 500, error.detail)
    found.headers.update(error.headers or {})
    return found


def of_bug(request: AnyRequest, error: Exception) -> Response[ProblemDetails]:
    """Return the answer to a bug; the log has the details. A program's last line of defence."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(500, "the coordinator failed to answer", "internal", "its log has the details")


def _invalid(error: ValidationException) -> str:
    """Return which argument is wrong, and how."""
    if isinstance(error.__cause__, KeyError) or "'data'" in str(error.extra):
        return "a JSON object is needed as the body"
    told = [f"{each.get('key', '')}: {each.get('message', '')}" for each in _wrong(error)]
    return "; ".join(told) or error.detail


def _choices(request: AnyRequest, error: ValidationException) -> str:
    """Return what those of the wrong arguments take that are a choice."""
    parameters = request.route_handler.parsed_fn_signature.parameters
    wrong = (parameters[each["key"]] for each in _wrong(error) if each.get("key") in parameters)
    kinds = ((each.name, kind.annotation) for each in wrong for kind in (each, *each.inner_types))
    return "; ".join(
        f"{name} is one of {', '.join(kind)}"
        for name, kind in kinds
        if isinstance(kind, type) and issubclass(kind, StrEnum)
    )


def _wrong(error: ValidationException) -> list[dict[str, Any]]:  # Any: as Litestar declares it
    """Return which arguments are wrong, and how."""
    return [each for each in error.extra if isinstance(each, dict)] if isinstance(error.extra, list) else []
