"""The API described in OpenAPI 3.1, made from the table of routes and the schemas.

`python -m waypost.api.openapi` writes the document to standard output.
"""

import sys
from typing import Any, Final

import msgspec

from waypost.api.problem import KINDS, problem
from waypost.api.route import Answer, Bodies, Parameter, Route
from waypost.api.routes import ANY_REFUSALS, ROUTES
from waypost.api.schemas import PROBLEM_JSON, Exported, Problem
from waypost.api.voted import Contested

VERSION: Final = "1.0"  # of the API, not of the node
SCHEMAS: Final = "#/components/schemas/{name}"
CONTESTED: Final = (409, 412)  # of voted records alone

Json = dict[str, Any]


def document() -> Json:
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waypost",
            "summary": "A node's directory, the records that are voted on, health and figures.",
            "version": VERSION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {kind.name: _refusal(status) for status, kind in KINDS.items()},
        },
    }


def text() -> bytes:
    """The document as it is served and kept in docs/openapi.json."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n"


def operation_id(route: Route) -> str:
    first, *others = route.operation.__name__.split("_")
    return first + "".join(word.title() for word in others)


def _operation(route: Route) -> Json:
    operation: Json = {"operationId": operation_id(route), "summary": route.summary}
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.bodies:
        operation["requestBody"] = {"required": route.body_required, "content": _content(route.bodies)}
    responses = {str(status): _answer(answer) for status, answer in route.answers.items()}
    for status in sorted((*ANY_REFUSALS, *route.refusals)):
        responses[str(status)] = {"$ref": f"#/components/responses/{KINDS[status].name}"}
    return operation | {"responses": responses}


def _parameter(parameter: Parameter) -> Json:
    (schema,), _ = msgspec.json.schema_components([parameter.type], ref_template=SCHEMAS)
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
        "example": parameter.example,
    }


def _answer(answer: Answer) -> Json:
    described: Json = {"description": answer.description}
    if answer.headers:
        described["headers"] = {
            name: {"description": description, "schema": {"type": "string"}}
            for name, description in answer.headers.items()
        }
    if answer.bodies:
        described["content"] = _content(answer.bodies)
    return described


def _content(bodies: Bodies) -> Json:
    return {media: {"schema": _schema(body), "example": msgspec.to_builtins(body)} for media, body in bodies.items()}


def _schema(body: object) -> Json:
    match body:
        case str():
            return {"type": "string"}
        case dict():
            return {"type": "object"}
        case _:
            return {"$ref": SCHEMAS.format(name=type(body).__name__)}


def _refusal(status: int) -> Json:
    example = problem(status, "what is wrong with this request in particular", "/v1/endpoints")
    if status in CONTESTED:
        example = Contested(**msgspec.structs.asdict(example), state="lost")
    headers = {405: ("Allow", "The methods that apply."), 503: ("Retry-After", "Seconds to wait.")}.get(status)
    return _answer(Answer(KINDS[status].title, {PROBLEM_JSON: example}, dict([headers] if headers else ())))


def _schemas() -> Json:
    bodies = [route.bodies for route in ROUTES]
    bodies += [answer.bodies for route in ROUTES for answer in route.answers.values()]
    types = {type(body).__name__: type(body) for each in bodies for body in each.values()}
    structs = [kind for kind in types.values() if issubclass(kind, msgspec.Struct)]
    _, components = msgspec.json.schema_components([*structs, Exported, Problem, Contested], ref_template=SCHEMAS)
    return dict(sorted(components.items()))


if __name__ == "__main__":
    sys.stdout.buffer.write(text())
