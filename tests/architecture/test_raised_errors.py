"""A route documents every error that its code is seen to raise, followed from function to function."""

from pathlib import Path

from documented_answers import documented_errors
from fastapi.routing import APIRoute
from raised_errors import RaisedErrors
from source_files import module_sources

from finpool.apps import openapi
from finpool.kernel.errors import DomainError

PACKAGE = Path(__file__).parents[2] / "platform" / "finpool"
GUARDS = "finpool.kernel.door.web"
"""Its errors come before the route's own code; each gatekeeper lists them."""

NEVER_RAISED = {
    ("tenant", "TenantNotFound"): "the key that asks belongs to a tenant that exists",
    ("propose_version", "VersionNotFound"): "the version is looked up once it is there",
    ("set_pool_cost", "PoolCostNotSet"): "the cost is looked up once it is set",
}


def errors_below(error: type[DomainError]) -> dict[str, type[DomainError]]:
    """Return an error and all that derive from it, by name."""
    found = {error.__name__: error}
    for each in error.__subclasses__():
        found |= errors_below(each)
    return found


def test_a_route_documents_every_error_that_its_code_raises() -> None:
    doors, errors = openapi.doors(), errors_below(DomainError)
    sources = {name: source for name, source in module_sources().items() if name != GUARDS}
    raised = RaisedErrors(sources, set(errors))
    compared, missing = 0, []
    for door, app in doors.items():
        document = app.openapi()
        for route in (each for each in app.routes if isinstance(each, APIRoute)):
            endpoint = route.endpoint
            for name in raised.raised_by((endpoint.__module__, endpoint.__qualname__)):
                if (door, name) in NEVER_RAISED or (endpoint.__name__, name) in NEVER_RAISED:
                    continue
                compared += 1
                of_error = {(errors[name].status, code) for code in errors[name].meanings()}
                (operation,) = (document["paths"][route.path][method.lower()] for method in route.methods)
                if not of_error <= documented_errors(document, operation):
                    missing.append(f"{door} door, {route.path}: {endpoint.__name__} may raise {name}")
    assert missing == [], "name these in the route's `responses=refusals(...)`"
    assert compared > 150


PLANTED = {
    "shop.errors": "class SoldOut(DomainError): ...\nclass Closed(DomainError): ...\nclass Lost(DomainError): ...",
    "shop.service": """
from shop import store
from shop.errors import Closed, Lost
from shop.store import Shelf

class Till:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def sell(self):
        return self._shelf.take()

def buy(till: Till):
    return till.sell()

def open_door():
    store.unlock()

def peek():
    try:
        open_door()
    except Closed:
        return None

def describe() -> Lost | None: ...
""",
    "shop.store": """
from shop.errors import Closed, SoldOut

class Shelf:
    def take(self):
        raise SoldOut("no more")

def unlock():
    raise Closed
""",
}


def test_errors_are_found_through_modules_objects_and_what_they_hold_unless_they_are_caught() -> None:
    raised = RaisedErrors(PLANTED, {"SoldOut", "Closed", "Lost"})
    assert raised.raised_by(("shop.service", "buy")) == {"SoldOut"}
    assert raised.raised_by(("shop.service", "open_door")) == {"Closed"}
    assert raised.raised_by(("shop.service", "peek")) == set()
    assert raised.raised_by(("shop.service", "describe")) == set()
