"""A change that can break clients of the last release is in the changelog, or the check fails."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / ".ci" / "check_openapi.py"
RELEASED = ROOT / "docs" / "openapi" / "released"
CHANGELOG = (
    "# Changelog\n\n## Unreleased\n\n### Added\n\n- `{route}`\n\n## 0.1.0 - 2026-11-29\n\n### Changed\n\n- `{route}`\n"
)
ANNOUNCED = "# Changelog\n\n## Unreleased\n\n### Changed\n\n- `{route}` is not what it was.\n\n## 0.1.0 - 2026-11-29\n"

Document = dict[str, Any]
Change = Callable[[Document], None]


def check(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CHECK, *arguments], capture_output=True, text=True, timeout=60, check=False)


def document() -> Document:
    """Return a small document with a body, an answer that holds itself, and an error."""
    codes = {"properties": {"error": {"properties": {"code": {"enum": ["not_found", "unknown_url"]}}}}}
    operation = {
        "parameters": [
            {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 100, "default": 20}},
            {"in": "query", "name": "after", "schema": {"type": "string"}},
        ],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewTree"}}}},
        "responses": {
            "200": {
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/TreeView"}},
                    "text/csv": {"schema": {"type": "string"}},
                }
            },
            "404": {"content": {"application/json": {"schema": codes}}},
        },
    }
    new_tree = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 64, "pattern": "^[a-z]+$"},
            "kind": {"enum": ["oak", "elm"]},
            "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        },
    }
    view = {
        "type": "object",
        "required": ["name", "kind"],
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["oak", "elm"]},
            "age": {"type": "integer"},
            "twigs": {"type": "array", "items": {"$ref": "#/components/schemas/TreeView"}},
        },
    }
    return {
        "paths": {"/v1/trees": {"post": operation}},
        "components": {"schemas": {"NewTree": new_tree, "TreeView": view}},
    }


def found(change: Change, directory: Path, changelog: str = CHANGELOG) -> str:
    """Return the output of the check for a changed document."""
    old, new = document(), deepcopy(document())
    change(new)
    for name, content in (("old", old), ("new", new)):
        (directory / name).mkdir()
        (directory / name / "forest.json").write_text(json.dumps(content))
    page = directory / "CHANGELOG.md"
    page.write_text(changelog.format(route="POST /v1/trees"))
    ended = check(directory / "old", directory / "new", page)
    assert ended.returncode == (1 if ended.stderr else 0)
    return ended.stderr


def operation(new: Document) -> Document:
    of_path: Document = new["paths"]["/v1/trees"]["post"]
    return of_path


def fields(new: Document, schema: str) -> Document:
    properties: Document = new["components"]["schemas"][schema]["properties"]
    return properties


INCOMPATIBLE: dict[str, Change] = {
    "the route is gone": lambda new: new["paths"].clear(),
    "parameter after is gone": lambda new: operation(new)["parameters"].pop(),
    "parameter limit must be given now": lambda new: operation(new)["parameters"][0].update(required=True),
    "parameter limit has another default": lambda new: operation(new)["parameters"][0]["schema"].update(default=10),
    "parameter limit has maximum 50 now": lambda new: operation(new)["parameters"][0]["schema"].update(maximum=50),
    "the body is gone": lambda new: operation(new).pop("requestBody"),
    "a body must be given now": lambda new: operation(new)["requestBody"].update(required=True),
    "field age must be given now": lambda new: new["components"]["schemas"]["NewTree"]["required"].append("age"),
    "field kind is gone": lambda new: fields(new, "NewTree").pop("kind"),
    "kind does not take elm any more": lambda new: fields(new, "NewTree").update(kind={"enum": ["oak"]}),
    "name has maxLength 32 now": lambda new: fields(new, "NewTree")["name"].update(maxLength=32),
    "name has minLength 1 now": lambda new: fields(new, "NewTree")["name"].update(minLength=1),
    "name has another pattern": lambda new: fields(new, "NewTree")["name"].update(pattern="^[a-y]+$"),
    "age takes no null now": lambda new: fields(new, "NewTree")["age"]["anyOf"].pop(),
    "age has minimum 1 now": lambda new: fields(new, "NewTree")["age"]["anyOf"][0].update(minimum=1),
    "the body takes no other fields now": lambda new: new["components"]["schemas"]["NewTree"].update(
        additionalProperties=False
    ),
    "status 200 is gone": lambda new: operation(new)["responses"].update(
        {"201": operation(new)["responses"].pop("200")}
    ),
    "no text/csv is answered any more": lambda new: operation(new)["responses"]["200"]["content"].pop("text/csv"),
    "field age is gone": lambda new: fields(new, "TreeView").pop("age"),
    "field kind may be missing now": lambda new: new["components"]["schemas"]["TreeView"]["required"].remove("kind"),
    "age may be null now": lambda new: fields(new, "TreeView").update(age={"type": ["integer", "null"]}),
    "kind may be yew now": lambda new: fields(new, "TreeView").update(kind={"enum": ["oak", "elm", "yew"]}),
    "status 404 is gone": lambda new: operation(new)["responses"].pop("404"),
    "error not_found is gone": lambda new: operation(new)["responses"]["404"]["content"]["application/json"]["schema"][
        "properties"
    ]["error"]["properties"]["code"]["enum"].remove("not_found"),
    "a credential is needed now": lambda new: operation(new).update(security=[{"key": []}]),
}

COMPATIBLE: dict[str, Change] = {
    "nothing": lambda new: None,
    "a new route": lambda new: new["paths"].update({"/v1/leaves": {"get": operation(new)}}),
    "a new parameter": lambda new: operation(new)["parameters"].append(
        {"in": "query", "name": "before", "schema": {"type": "string"}}
    ),
    "a new field of a body": lambda new: fields(new, "NewTree").update(height={"type": "integer"}),
    "a wider body": lambda new: fields(new, "NewTree")["name"].update(maxLength=128),
    "one more value of a body": lambda new: fields(new, "NewTree").update(kind={"enum": ["oak", "elm", "yew"]}),
    "a number where a body had an integer": lambda new: fields(new, "NewTree")["age"]["anyOf"][0].update(type="number"),
    "a new field of an answer": lambda new: fields(new, "TreeView").update(height={"type": "integer"}),
    "a narrower answer": lambda new: fields(new, "TreeView").update(kind={"const": "oak"}),
    "another description": lambda new: operation(new)["responses"]["200"].update(description="A tree, with its twigs."),
}


@pytest.mark.parametrize("fault", INCOMPATIBLE)
def test_an_incompatible_change_is_named(fault: str, tmp_path: Path) -> None:
    said = found(INCOMPATIBLE[fault], tmp_path)
    assert said.startswith("forest door, POST /v1/trees: ")
    assert fault in said


@pytest.mark.parametrize("change", COMPATIBLE)
def test_a_compatible_change_needs_no_line(change: str, tmp_path: Path) -> None:
    assert found(COMPATIBLE[change], tmp_path) == ""


def test_a_line_under_unreleased_that_names_the_route_announces_the_change(tmp_path: Path) -> None:
    assert found(INCOMPATIBLE["field age is gone"], tmp_path, ANNOUNCED) == ""


def test_no_change_since_the_last_release_is_kept_from_clients() -> None:
    ended = check()
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_documents_of_the_last_release_are_kept() -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+) ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    versions = {json.loads(path.read_text())["info"]["version"] for path in RELEASED.glob("*.json")}
    assert versions == {released[0]}
    assert sorted(path.name for path in RELEASED.glob("*.json")) == sorted(
        path.name for path in RELEASED.parent.glob("*.json")
    )
