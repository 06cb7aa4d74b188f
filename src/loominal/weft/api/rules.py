"""What the OpenAPI document says beyond the types: rules that the hub holds values to, as far as a schema tells.

They are told, not checked here: the hub's own words say better what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from loominal.model import times
from loominal.model.names import LABEL_CHARACTERS, PROJECT_NAME, SUBJECT_TOKEN, TASK_ID_CHARACTERS
from loominal.model.target import TARGET_NAME
from loominal.weft.events.happening import Topic
from loominal.weft.events.query import TYPES

Json = Any  # Any: JSON Schema, and the OpenAPI document around it
UNSEEN = r"\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
PRINTED = f"^[^{UNSEEN}]*$"  # some rarer signs are refused, too
LABEL = {"minLength": 1, "maxLength": LABEL_CHARACTERS, "pattern": PRINTED}
FILTER = {"maxLength": LABEL_CHARACTERS, "pattern": PRINTED}  # "" is none
NAME = {"pattern": f"^{SUBJECT_TOKEN.pattern}$"}
TIME = {"minLength": 2, "pattern": times.PATTERN}
PROJECT = {"pattern": f"^{PROJECT_NAME.pattern}$"}


def _joined(names: Iterable[str]) -> str:
    """Return the pattern of a text that has some of `names`, joined by commas."""
    one = f"({'|'.join(names)})"
    return f"^({one}(,{one})*)?$"


RULES = {
    "agentType": FILTER,
    "AddTarget.agentType": LABEL,
    "AddTarget.name": {"pattern": f"^{TARGET_NAME.pattern}$"},
    "agentTypes": LABEL,
    "boundaries": LABEL,
    "boundary": FILTER,
    "SubmitWork.boundary": LABEL,
    "capabilities": LABEL,
    "capability": FILTER,
    "channel": NAME,
    "deadline": TIME,
    "expires": TIME,
    "invitation_id": NAME,
    "notBefore": TIME,
    "preferred": LABEL,
    "preferredAgentType": FILTER,
    "projectId": PROJECT,
    "projects": PROJECT,
    "GrantAccess.projects": NAME,
    "requiredAgentType": FILTER,
    "requiredCapability": FILTER,
    "since": TIME,
    "tags": LABEL,
    "targets": LABEL,
    "taskId": {"minLength": 1, "maxLength": TASK_ID_CHARACTERS, "pattern": PRINTED},
    "topics": {"pattern": _joined(Topic)},
    "types": {"pattern": _joined(TYPES)},
}  # of what is called so, in that body or anywhere; of a list, of each that is in it; of an object, of its names
KEY = "Idempotency-Key"
NEEDED = {"GrantAccess.boundaries", "AddTarget.boundaries"}  # lists of which the default, an empty one, is refused


def complete(document: Json) -> None:
    """Add to an OpenAPI document what Litestar does not know."""
    schemas = document["components"]["schemas"]
    for method, operation in (each for path in document["paths"].values() for each in path.items()):
        parameters = operation.get("parameters", [])
        parameters[:] = (each for each in parameters if method != "get" or each["name"] != KEY)  # reading is no deed
        for parameter in parameters:
            parameter["schema"] = _never_null(parameter["schema"])
            _state(parameter["schema"], RULES.get(parameter["name"], {}))
        if body := operation.get("requestBody"):
            whole, *inner = _objects(body["content"]["application/json"]["schema"], schemas)
            for each in (whole, *inner):
                _close(each)
            body["required"] = bool(whole["required"])


def _never_null(schema: Json) -> Json:
    """Return what a text is that is given as a parameter: `null` is one, too. For others it means none."""
    match [each for each in schema.get("oneOf", ()) if each != {"type": "null"}]:
        case [{"type": "string" | "array"} as only]:
            return only | {name: said for name, said in schema.items() if name != "oneOf"}
    return schema


def _objects(schema: Json, schemas: Json) -> Iterator[Json]:
    """Yield the objects that a schema tells of, the outermost first."""
    if "$ref" in schema:
        yield from _objects(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "properties" in schema:
        yield schema
    inner = *schema.get("properties", {}).values(), *schema.get("oneOf", ()), schema.get("items")
    for each in (*inner, schema.get("additionalProperties")):
        if each:
            yield from _objects(each, schemas)


def _close(schema: Json) -> None:
    """Say of an object in a body what is known of its fields, and that it has no others."""
    for name, each in schema["properties"].items():
        field = f"{schema['title']}.{name}"
        _state(each, RULES.get(field, RULES.get(name, {})))
        if field in NEEDED:
            each["minItems"] = 1
            schema["required"] = sorted({*schema["required"], name})
    schema["additionalProperties"] = False


def _state(schema: Json, rule: Json) -> None:
    """Add a rule to the schema of a text, of a list of texts, or of an object with such names."""
    if schema.get("type") == "array":
        schema["items"] |= rule
    elif schema.get("type") == "object" and rule:
        schema["propertyNames"] = rule
    else:
        schema |= rule
