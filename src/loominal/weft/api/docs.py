"""The HTTP interface described: the OpenAPI document, and a page of it for people that loads nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.openapi.plugins import OpenAPIRenderPlugin

from loominal.weft.api.rules import complete

STYLE = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto}code{background:#eee}dt{margin-top:1em}"


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:  # Any: the request's own type variables
    """Return the OpenAPI 3.1 document."""
    document = request.app.openapi_schema.to_schema()
    complete(document)
    return Response(msgspec.json.encode(document), media_type=MediaType.JSON)


class Page(OpenAPIRenderPlugin):
    """Every route in a few lines."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page. Any: as Litestar declares it."""
        lines = [
            f"<dt><code>{method.upper()} {escape(path)}</code></dt><dd>{escape(operation.get('description', ''))}"
            f"{_arguments(operation)}{_fields(operation, openapi_schema)}</dd>"
            for path, item in sorted(openapi_schema["paths"].items())
            for method, operation in item.items()
        ]
        text = (
            f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Loominal</title><style>{STYLE}</style>"
            "<h1>Loominal</h1><p>All but /health and /ready needs <code>Authorization: Bearer …</code>. Bold"
            " fields are needed. Types of bodies and answers: <a href='/api/openapi.json'>openapi.json</a>, for any"
            " OpenAPI 3.1 tool.</p>"
            f"<dl>{''.join(lines)}</dl></html>"
        )
        return text.encode()


def _arguments(operation: dict[str, Any]) -> str:  # Any: JSON
    names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    return f"<br>query: {escape(', '.join(names))}" if names else ""


def _fields(operation: dict[str, Any], document: dict[str, Any]) -> str:  # Any: JSON
    if not (body := operation.get("requestBody")):
        return ""
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    needed = schema.get("required", ())
    names = [f"<b>{escape(each)}</b>" if each in needed else escape(each) for each in schema.get("properties", ())]
    return f"<br>body: {', '.join(names)}" if names else ""
