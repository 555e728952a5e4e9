"""The committed OpenAPI documents show every change of a door's API. `make openapi` writes them."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from documented_answers import documented_errors, resolved
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from starlette.routing import Route

from finpool.apps import openapi
from finpool.kernel.errors import DomainError

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
DOORS = ("inference", "tenant", "operator", "regulator")
OF_NO_OPERATION = {
    (404, "unknown_url"): "for a path that does not exist; the document's head names it",
    (405, "method_not_allowed"): "for a method that a path does not have; the document's head names it",
    (404, "not_found"): "each error that derives from it has a code of its own",
    (404, "token_not_found"): "the command line raises it, which issues tokens in the database itself",
}


@cache
def apps() -> dict[str, FastAPI]:
    return openapi.doors()


@cache
def committed(door: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{door}.json").read_text(encoding="utf-8"))
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a document."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(each)


def errors_below(error: type[DomainError]) -> set[tuple[int, str]]:
    """Return status and code of an error and of its subclasses in the package; tests define others."""
    own = {(error.status, code) for code in error.meanings()} if error.__module__.startswith("finpool.") else set()
    return own.union(*(errors_below(each) for each in error.__subclasses__()))


@pytest.mark.parametrize("door", DOORS)
def test_the_committed_document_is_the_one_that_the_door_serves(door: str) -> None:
    written = (FOLDER / f"{door}.json").read_text(encoding="utf-8")
    assert written == openapi.rendered(apps()[door]), "the API changed; if that is meant, run `make openapi`"


def test_every_door_has_a_document_and_nothing_else_has() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(DOORS) == sorted(apps())


@pytest.mark.parametrize("door", DOORS)
def test_no_route_is_missing_from_its_document(door: str) -> None:
    routes = [route for route in apps()[door].routes if isinstance(route, Route)]
    assert len(routes) == len(apps()[door].routes)
    served = {(method, route.path) for route in routes for method in route.methods or ()}
    documented = {(method, path) for method, path, _ in operations(committed(door))}
    # Starlette answers HEAD on the plain route of the document itself, as HTTP says: GET without its body.
    assert served - documented <= {("HEAD", "/openapi.json")}
    assert documented <= served


@pytest.mark.parametrize("door", DOORS)
def test_a_document_is_openapi_3_1(door: str) -> None:
    document = committed(door)
    assert document["openapi"].startswith("3.1.")
    OpenAPI.model_validate(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for part in parts(document):
        resolved(document, part)
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("door", DOORS)
def test_a_bound_is_written_as_the_number_that_it_is(door: str) -> None:
    bounds = [part[name] for part in parts(committed(door)) for name in ("maximum", "exclusiveMaximum") if name in part]
    assert bounds
    assert [each for each in bounds if isinstance(each, float) and each.is_integer()] == []


@pytest.mark.parametrize("door", DOORS)
def test_every_operation_describes_its_body_and_its_answer(door: str) -> None:
    document = committed(door)
    for method, path, operation in operations(document):
        answers = [response for status, response in operation["responses"].items() if status.startswith("2")]
        assert answers, f"{method} {path} documents no answer"
        assert all(resolved(document, each).get("content") for each in answers), f"{method} {path}"
        assert operation.get("description") or operation["summary"] == "Describe this API."
        for body in parts(operation):
            assert body.get("schema", True) != {}, f"{method} {path} leaves a schema open"


@pytest.mark.parametrize("door", DOORS)
def test_every_operation_documents_the_errors_that_any_request_may_meet(door: str) -> None:
    document = committed(door)
    for method, path, operation in operations(document):
        statuses = {status for status, _ in documented_errors(document, operation)}
        expected = {400, 408, 413, 431, 500, 503} | ({401, 403} if "security" in operation else set())
        assert statuses >= expected, f"{method} {path}"
        of_fastapi = {error for error in documented_errors(document, operation) if error[0] == 422}
        assert of_fastapi <= {(422, "idempotency_key_reused")}, "FastAPI's own refusal is none of the platform's"


def test_every_error_of_the_platform_is_documented_somewhere() -> None:
    documented = {
        error
        for door in DOORS
        for _, _, each in operations(committed(door))
        for error in documented_errors(committed(door), each)
    }
    assert errors_below(DomainError) - documented == set(OF_NO_OPERATION)


@pytest.mark.parametrize("door", DOORS)
def test_a_route_serves_an_idempotency_key_or_refuses_it_and_ignores_it_nowhere(door: str) -> None:
    document = committed(door)
    for method, path, operation in operations(document):
        serves = "Idempotency-Key" in {each["name"] for each in operation.get("parameters", ())}
        refuses = (400, "idempotency_unsupported") in documented_errors(document, operation)
        changes = method.lower() != "get"
        assert serves == (door == "inference" and changes), f"{method} {path}"
        assert refuses == (changes and not serves), f"{method} {path}"
