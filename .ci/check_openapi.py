"""Compare the doors' OpenAPI documents with those of the last release, without the network or any package.

A change that can break clients of the release needs a line in CHANGELOG.md, under `Unreleased` in `Changed` or
`Removed`. The line names the route: `POST /v1/rerank`. Exit code 1: a line is missing.

`check_openapi.py` compares `docs/openapi/released` with `docs/openapi`; `check_openapi.py OLD NEW CHANGELOG` compares
two other folders, for example those of two checkouts.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openapi_schemas import Comparer, Document, resolved

ROOT = Path(__file__).parents[1]
CURRENT = ROOT / "docs" / "openapi"
RELEASED = CURRENT / "released"
CHANGELOG = ROOT / "CHANGELOG.md"
SECTIONS = ("Changed", "Removed")


def incompatibilities(old: Document, new: Document) -> dict[str, list[str]]:
    """Return the changes that can break clients of the old document, by route."""
    found = {}
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            now = new["paths"].get(path, {}).get(method)
            faults = ["the route is gone"] if now is None else list(_operation(old, new, operation, now))
            if faults:
                found[f"{method.upper()} {path}"] = faults
    return found


def _operation(old: Document, new: Document, before: Document, now: Document) -> Iterator[str]:
    comparer = Comparer(old, new)
    yield from _parameters(comparer, before, now)
    yield from _body(comparer, before, now)
    for status, response in before["responses"].items():
        if status not in now["responses"]:
            yield f"status {status} is gone"
            continue
        was, is_now = resolved(old, response), resolved(new, now["responses"][status])
        yield from _response(comparer, status, was, is_now)
    if now.get("security") and not before.get("security"):
        yield "a credential is needed now"


def _parameters(comparer: Comparer, before: Document, now: Document) -> Iterator[str]:
    was = {(each["in"], each["name"]): each for each in before.get("parameters", ())}
    is_now = {(each["in"], each["name"]): each for each in now.get("parameters", ())}
    for key in was.keys() | is_now.keys():
        name = f"parameter {key[1]}"
        if key not in is_now:
            yield f"{name} is gone"
            continue
        if is_now[key].get("required") and not was.get(key, {}).get("required"):
            yield f"{name} must be given now"
        if key in was:
            yield from comparer.body(was[key]["schema"], is_now[key]["schema"], name)
            if was[key]["schema"].get("default") != is_now[key]["schema"].get("default"):
                yield f"{name} has another default"


def _body(comparer: Comparer, before: Document, now: Document) -> Iterator[str]:
    was, is_now = before.get("requestBody"), now.get("requestBody")
    if is_now is None:
        if was is not None:
            yield "the body is gone"
        return
    if is_now.get("required") and not (was or {}).get("required"):
        yield "a body must be given now"
    for media_type, content in (was or {}).get("content", {}).items():
        if media_type not in is_now["content"]:
            yield f"no {media_type} is taken any more"
        else:
            yield from comparer.body(content["schema"], is_now["content"][media_type]["schema"], "")


def _response(comparer: Comparer, status: str, was: Document, is_now: Document) -> Iterator[str]:
    if status.startswith(("4", "5")):
        # The shape of an error is the same everywhere, and clients must expect codes that they do not know.
        for code in sorted(_codes(was) - _codes(is_now)):
            yield f"error {code} is gone"
        return
    for media_type, content in was.get("content", {}).items():
        if media_type not in is_now.get("content", {}):
            yield f"no {media_type} is answered any more"
        elif "schema" in content:
            yield from comparer.answer(content["schema"], is_now["content"][media_type].get("schema", {}), "")


def _codes(response: Document) -> set[str]:
    schema = response["content"]["application/json"]["schema"]
    return set(schema["properties"]["error"]["properties"]["code"]["enum"])


def announced(changelog: str) -> str:
    """Return the changelog's lines about changes and removals since the last release."""
    unreleased = re.split(r"^## ", changelog, flags=re.MULTILINE)[1]
    parts = re.split(r"^### (\w+)$", unreleased, flags=re.MULTILINE)
    return "\n".join(text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name in SECTIONS)


def unannounced(old: Path, new: Path, changelog: str) -> list[str]:
    """Return one line for each incompatible route of any door that the changelog does not name."""
    said = announced(changelog)
    lines = []
    for released in sorted(old.glob("*.json")):
        current = new / released.name
        documents: list[Any] = [json.loads(path.read_text(encoding="utf-8")) for path in (released, current)]
        for route, faults in incompatibilities(*documents).items():
            if not re.search(rf"`{re.escape(route)}`", said):
                lines.append(f"{released.stem} door, {route}: {'; '.join(faults)}")
    return lines


def main(old: Path = RELEASED, new: Path = CURRENT, changelog: Path = CHANGELOG) -> int:
    """Print each change that the changelog does not announce, and return the exit code."""
    lines = unannounced(old, new, changelog.read_text(encoding="utf-8"))
    for line in lines:
        sys.stderr.write(f"{line}\n  Say so in CHANGELOG.md, under Unreleased, in Changed or Removed.\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
