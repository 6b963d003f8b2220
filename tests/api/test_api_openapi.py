"""The description of the API is valid, whole, and the same as the one in the documentation."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from serving import operator

from waypost.api import openapi
from waypost.api.problem import KINDS
from waypost.api.routes import ROUTES
from waypost.api.server import application
from waypost.identity.admission import Gate
from waypost.identity.policy import default

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = openapi.document()
METHODS = ("get", "put", "post", "delete", "patch")


async def nobody(question: object) -> object:
    raise AssertionError(question)


def operations() -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def validator(schema: object) -> jsonschema.Draft202012Validator:
    """`schema` may point into the document."""
    return jsonschema.Draft202012Validator({"$id": "urn:waypost", "allOf": [schema], **DOCUMENT})


def bodies(value: object) -> list[Any]:
    """Every media type object in `value`."""
    found: list[Any] = []
    if isinstance(value, dict):
        for name, inner in value.items():
            found += list(inner.values()) if name == "content" else bodies(inner)
    elif isinstance(value, list):
        for inner in value:
            found += bodies(inner)
    return found


def test_the_document_is_openapi_3_1() -> None:
    schema = json.loads((ROOT / "tests/vectors/openapi/schema-3.1.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(openapi.text()))


def test_every_schema_of_the_document_is_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_route_that_is_served_is_described_and_no_other() -> None:
    app: web.Application = application(nobody, dict, operator, default().decide, Gate(0, 1))
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert served == operations().keys()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for operation in operations().values()]
    assert len(set(names)) == len(names) == len(ROUTES)


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": ?"#/([^"]+)"', json.dumps(DOCUMENT)):
        place: Any = DOCUMENT
        for step in reference.split("/"):
            place = place[step]


def test_every_placeholder_in_a_path_is_a_parameter() -> None:
    for (_, path), operation in operations().items():
        named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))


def test_every_example_is_what_its_schema_says() -> None:
    examples = bodies(DOCUMENT)
    examples += [parameter for operation in operations().values() for parameter in operation.get("parameters", ())]
    assert len(examples) > len(ROUTES)
    for body in examples:
        validator(body["schema"]).validate(json.loads(json.dumps(body["example"])))


@pytest.mark.parametrize("status", KINDS)
def test_every_refusal_is_described_where_its_type_points(status: int) -> None:
    described = DOCUMENT["components"]["responses"][KINDS[status].name]
    example = described["content"]["application/problem+json"]["example"]
    assert example["type"] == f"/v1/openapi.json#/components/responses/{KINDS[status].name}"
    assert example["status"] == status


def test_the_document_in_the_documentation_is_current() -> None:
    """`python -m waypost.api.openapi > docs/openapi.json` makes it so."""
    assert (ROOT / "docs" / "openapi.json").read_bytes() == openapi.text()
