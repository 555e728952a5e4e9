"""A door's document describes each route's own errors beside those of every route, and bodies that routes parse."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from finpool.kernel.door.door import new_door
from finpool.kernel.door.openapi import answer_headers, event_stream, json_body, refusals
from finpool.kernel.door.web import DoorRoute, requires
from finpool.kernel.errors import DomainError, Forbidden, InvalidRequest, NotFound


class TreeNotFound(NotFound):
    """No such tree. Only foresters read on."""

    code = "tree_not_found"


class TreeFelled(NotFound):
    """The tree was felled."""

    code = "tree_not_found"


class TreeTooTall(InvalidRequest):
    """The tree is too tall."""

    code = "tree_too_tall"


class TreeAway(DomainError):
    """The tree is away for a while."""

    status = 429
    code = "tree_away"
    header_names = ("retry-after",)


class Leaf(BaseModel):
    colour: str


class NewTree(BaseModel):
    leaves: list[Leaf]


def document(router: APIRouter) -> dict[str, Any]:
    door = new_door("forest", body_bytes_max=1, lifespan=None, gate=(Forbidden,))  # type: ignore[arg-type]
    door.include_router(router)
    return door.openapi()


def forest(**options: Any) -> APIRouter:
    """Return a router with one route that needs a permission."""
    router = APIRouter(route_class=DoorRoute)

    @router.post("/trees/{tree_id}", dependencies=[Depends(requires("tree:write"))], **options)
    async def grow_tree(tree_id: str, request: Request) -> Leaf:
        return Leaf(colour="green")

    return router


def error_of(found: dict[str, Any], status: str) -> tuple[str, list[str]]:
    """Return the description and the codes of an error of the one route."""
    response = found["paths"]["/trees/{tree_id}"]["post"]["responses"][status]
    if "$ref" in response:
        response = found["components"]["responses"][response["$ref"].split("/")[-1]]
    schema = response["content"]["application/json"]["schema"]
    assert schema["$ref"] == "#/components/schemas/ErrorView"
    return response["description"], schema["properties"]["error"]["properties"]["code"]["enum"]


def test_a_route_documents_its_own_errors_in_one_sentence_each_beside_the_common_ones() -> None:
    found = document(forest(responses=refusals(TreeNotFound, TreeTooTall)))
    assert error_of(found, "404") == ("- `tree_not_found`: No such tree.", ["tree_not_found"])
    description, codes = error_of(found, "400")
    assert set(codes) > {"invalid_request", "tree_too_tall"}
    assert "- `tree_too_tall`: The tree is too tall." in description


def test_an_answer_documents_its_headers_and_the_document_only_those_that_are_used() -> None:
    found = document(forest(responses={200: answer_headers("openai-version"), **refusals(TreeAway)}))
    responses = found["paths"]["/trees/{tree_id}"]["post"]["responses"]
    assert list(responses["200"]["headers"]) == ["openai-version", "x-request-id"]
    assert sorted(responses["429"]["headers"]) == ["retry-after", "x-request-id"]
    assert sorted(found["components"]["headers"]) == [
        "openai-version",
        "retry-after",
        "x-request-id",
        "x-request-id-if-arrived",
    ]


def test_two_errors_of_one_code_are_described_together() -> None:
    found = document(forest(responses=refusals(TreeNotFound, TreeFelled)))
    assert error_of(found, "404") == ("- `tree_not_found`: No such tree. The tree was felled.", ["tree_not_found"])


def test_only_a_route_with_a_permission_documents_the_gatekeepers_errors() -> None:
    router = forest()

    @router.get("/weather")
    async def weather() -> Leaf:
        return Leaf(colour="green")

    found = document(router)
    guarded, free = found["paths"]["/trees/{tree_id}"]["post"], found["paths"]["/weather"]["get"]
    assert guarded["security"] == [{"key": []}]
    assert "403" in guarded["responses"]
    assert "security" not in free
    assert "403" not in free["responses"]


def test_the_frameworks_own_refusal_is_not_documented() -> None:
    found = document(forest())
    assert "422" not in found["paths"]["/trees/{tree_id}"]["post"]["responses"]
    assert not {"HTTPValidationError", "ValidationError"} & found["components"]["schemas"].keys()


def test_a_body_and_a_stream_that_a_route_handles_itself_are_among_the_schemas() -> None:
    streamed = {200: {"content": event_stream(Leaf, "One leaf in each event.")}}
    found = document(forest(openapi_extra=json_body(NewTree), responses=streamed))
    operation = found["paths"]["/trees/{tree_id}"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    stream = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]
    assert body == {"$ref": "#/components/schemas/NewTree"}
    assert stream == {"$ref": "#/components/schemas/Leaf", "description": "One leaf in each event."}
    assert found["components"]["schemas"]["NewTree"]["properties"]["leaves"]["items"] == {
        "$ref": "#/components/schemas/Leaf"
    }


def test_two_schemas_of_one_name_are_refused() -> None:
    class Leaf(BaseModel):
        weight: int

    with pytest.raises(ValueError, match="Leaf"):
        document(forest(openapi_extra=json_body(Leaf)))
