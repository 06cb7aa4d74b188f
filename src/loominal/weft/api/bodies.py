"""What a request brings: its body as one of our types, checked as strictly as over the broker, and no unknown query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar.dto import AbstractDTO, DTOConfig
from litestar.exceptions import ClientException
from litestar.openapi.spec import Parameter

from loominal.fabric.operations.types import Arguments
from loominal.fabric.protocol import arguments
from loominal.model.errors import InvalidArgument
from loominal.model.names import meant, one_line, shown

if TYPE_CHECKING:
    from collections.abc import Generator

    from litestar import Litestar
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.dto.data_structures import DTOFieldDefinition
    from litestar.openapi.spec import Reference, Schema
    from litestar.typing import FieldDefinition

    from loominal.weft.api.problems import AnyRequest

PROJECT = "projectId"  # an argument of every route; of the body in one alone


class Body(AbstractDTO[Arguments]):
    """Reads a JSON body into the type that the handler's `data` has; a missing one is `{}`.

    Litestar's own reading takes "5" for 5; the documented schema says otherwise.
    """

    config = DTOConfig()

    def decode_bytes(self, value: bytes) -> Any:  # Any: as Litestar declares it; it is what `data` says
        """Return the arguments. Raises: ClientException (400) if it is no JSON object, InvalidArgument, TooLarge."""
        field = self.asgi_connection.route_handler.parsed_data_field
        try:
            return arguments(field.annotation, value if value.strip() else b"{}")
        except InvalidArgument:
            if PROJECT in _object(value).keys() - set(field.annotation.__struct_encode_fields__):
                raise InvalidArgument(f"{PROJECT} is no field of this body", f"give ?{PROJECT}=… in the URL") from None
            raise

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: object = None
    ) -> None:
        """Prepare nothing: the type itself says all."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """Return the schema of the type."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Yield nothing: there is no other model."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Return False: nothing is transferred field by field."""
        return False


def _object(value: bytes) -> dict[str, object]:
    """Return the JSON object that `value` is. Raises: ClientException (400) if it is none."""
    try:
        whole = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ClientException(f"the body is no JSON: {one_line(str(error))}") from error
    if not isinstance(whole, dict):
        raise ClientException("the body is no JSON object")
    return whole


def only_known_queries(request: AnyRequest) -> None:
    """Refuse a query argument that the route does not have: it would be dropped. Raises: InvalidArgument."""
    known: frozenset[str] = request.app.state.queries.get((request.scope["path_template"], request.method), frozenset())
    for name in request.query_params:
        if name not in known:
            raise InvalidArgument(f"there is no query argument {shown(name)}", meant(name, sorted(known), "arguments"))


def query_names(app: Litestar) -> dict[tuple[str, str], frozenset[str]]:
    """Return the query arguments of every route by path and method, as the OpenAPI document has them."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for path, item in (app.openapi_schema.paths or {}).items():
        for method in ("get", "post", "put", "delete"):
            if operation := getattr(item, method):
                parameters = (each for each in operation.parameters or () if isinstance(each, Parameter))
                names = frozenset(each.name for each in parameters if each.param_in == "query")
                found[path, method.upper()] = names
    return found
