"""No route of any door ignores a query parameter."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

ROUTES_MIN = 60
WHOLE_NUMBERS_MIN = 10


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


def whole_numbers(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """Yield method, path and name of every query parameter that the API document calls a whole number."""
    document = app.openapi()["paths"]
    for method, path, _ in operations(app):
        described = next(
            each for each in document if re.sub(r"\{\w+\}", "x", each) == path and method.lower() in document[each]
        )
        for each in document[described][method.lower()].get("parameters", ()):
            forms = each["schema"].get("anyOf", [each["schema"]])
            if each["in"] == "query" and {form.get("type") for form in forms} - {"null"} == {"integer"}:
                yield method, path, each["name"]


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


@pytest.mark.parametrize("written", ["1_0", "%2B1", "+1", "5.0", "1e1", "%D9%A1", "", "0x5"])
async def test_every_whole_number_is_written_with_digits(apps: dict[str, FastAPI], written: str) -> None:
    answers = {
        (f"{door} {method} {path}", name): await code_of(app, method, f"{path}?{name}={written}")
        for door, app in apps.items()
        for method, path, name in whole_numbers(app)
    }
    assert len(answers) > WHOLE_NUMBERS_MIN
    assert {key: told for key, told in answers.items() if told != (400, "invalid_request", key[1])} == {}


@pytest.mark.parametrize("written", ["%00", "x%00y"])
async def test_no_query_parameter_takes_a_nul(apps: dict[str, FastAPI], written: str) -> None:
    answers = {
        (f"{door} {method} {path}", name): await code_of(app, method, f"{path}?{name}={written}")
        for door, app in apps.items()
        for method, path, names in operations(app)
        for name in names
    }
    assert len(answers) > ROUTES_MIN
    assert {key: told for key, told in answers.items() if told != (400, "invalid_request", key[1])} == {}


async def test_a_parameter_that_takes_one_value_is_not_known_as_a_list(apps: dict[str, FastAPI]) -> None:
    answers = {
        (f"{door} {method} {path}", name): await code_of(app, method, f"{path}?{name}[]=x")
        for door, app in apps.items()
        for method, path, names in operations(app)
        for name in names
    }
    assert len(answers) > ROUTES_MIN
    assert {key: told for key, told in answers.items() if told != (400, "unknown_parameter", f"{key[1]}[]")} == {}
