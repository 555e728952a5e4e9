"""No route of any door ignores a query parameter."""

import re
from collections.abc import Iterator

import httpx2
from fastapi import FastAPI
from fastapi.routing import APIRoute

ROUTES_MIN = 60


def operations(app: FastAPI) -> Iterator[tuple[str, str, list[str]]]:
    """Yield method, path and the query parameters that the API document names, for every route."""
    document = app.openapi()["paths"]
    for route in app.routes:
        assert isinstance(route, APIRoute), f"{route} is not a route with these rules"
        for method in route.methods:
            declared = document[route.path][method.lower()].get("parameters", ())
            single = [
                each["name"] for each in declared if each["in"] == "query" and each["schema"].get("type") != "array"
            ]
            yield method, re.sub(r"\{\w+\}", "x", route.path), single


async def code_of(app: FastAPI, method: str, path: str) -> tuple[int, str, str]:
    """Call past the banks' dispatcher, so that each of the two apps answers for itself."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://door") as client:
        answer = await client.request(method, path, headers={"authorization": "Bearer x"})
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def test_every_route_of_every_door_refuses_a_parameter_that_it_does_not_know(apps: dict[str, FastAPI]) -> None:
    answers = {
        f"{door} {method} {path}": await code_of(app, method, f"{path}?nope=1")
        for door, app in apps.items()
        for method, path, _ in operations(app)
    }
    assert len(answers) > ROUTES_MIN
    assert {name: told for name, told in answers.items() if told != (400, "unknown_parameter", "nope")} == {}


async def test_every_route_of_every_door_refuses_a_value_given_twice(apps: dict[str, FastAPI]) -> None:
    answers = {
        (f"{door} {method} {path}", name): await code_of(app, method, f"{path}?{name}=1&{name}=1")
        for door, app in apps.items()
        for method, path, names in operations(app)
        for name in names
    }
    assert len(answers) > ROUTES_MIN
    assert {key: told for key, told in answers.items() if told != (400, "repeated_parameter", key[1])} == {}
