"""Compares every answer of a door that runs in this process with the committed OpenAPI document of that door."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from jsonschema import Draft202012Validator

from finpool.kernel.door.ingress import Ingress, Message, Receive, Send

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
FOR_CLIENTS = ("x-", "openai-", "retry-after")
"""How the names of the headers begin that clients read."""

END_OF_STREAM = "[DONE]"


class CheckedIngress(Ingress):
    """Serves as the platform's own does, and notes in `faults` each answer that its door does not document."""

    faults: ClassVar[list[str]] = []

    def __init__(self, app: Any, door: str, body_bytes_max: int) -> None:
        super().__init__(app, door, body_bytes_max)
        self.door = door

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request and compare its answer, unless the client left before the end."""
        start: Message = {}
        body, whole = bytearray(), False

        async def send_and_keep(message: Message) -> None:
            nonlocal whole
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                whole = not message.get("more_body", False)
            await send(message)

        await super().__call__(scope, receive, send_and_keep)
        if whole and (path := getattr(scope.get("route"), "path", None)) is not None:
            said = faults_of(self.door, scope["method"], path, start, bytes(body))
            self.faults.extend(f"{self.door} door, {scope['method']} {path}: {fault}" for fault in said)


def faults_of(door: str, method: str, path: str, start: Message, body: bytes) -> Iterator[str]:
    """Yield each difference between an answer and its operation."""
    status = start["status"]
    operation = document(door)["paths"][path].get(method.lower())
    if operation is None:
        if status not in (204, 405):  # OPTIONS, and any other method of a path.
            yield f"{status} for a method without an operation"
        return
    response = operation["responses"].get(str(status))
    if response is None:
        yield f"status {status} is not documented"
        return
    response = resolved(document(door), response)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    yield from header_faults(door, status, response.get("headers", {}), headers)
    media_type = headers.get("content-type", "").partition(";")[0]
    if media_type not in response["content"]:
        yield f"status {status} comes as {media_type}"
        return
    for part in json_parts(media_type, body):
        schema = {"$ref": "#/components/schemas/ErrorView"} if "error" in part and status == 200 else None
        for error in validator(door, json.dumps(schema or response["content"][media_type]["schema"])).iter_errors(part):
            yield f"status {status}: {error.json_path}: {error.message[:300]}"


def header_faults(
    door: str, status: int, documented: dict[str, dict[str, Any]], headers: dict[str, str]
) -> Iterator[str]:
    """Yield each header for clients that is undocumented, missing or has another value than its description says."""
    for name in sorted(headers):
        if name.startswith(FOR_CLIENTS) and name not in documented:
            yield f"status {status}: the header {name} is not documented"
    for name, reference in documented.items():
        header = resolved(document(door), reference)
        if name not in headers:
            if header.get("required"):
                yield f"status {status}: the header {name} is missing"
            continue
        value: Any = headers[name]
        value = int(value) if header["schema"].get("type") == "integer" and value.isdecimal() else value
        for error in validator(door, json.dumps(header["schema"])).iter_errors(value):
            yield f"status {status}: the header {name}: {error.message[:300]}"


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return the object that a bare reference names."""
    while "$ref" in value and len(value) == 1:
        target: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        value = target
    return value


def documented_errors(document: dict[str, Any], operation: dict[str, Any]) -> set[tuple[int, str]]:
    """Return status and code of every error that an operation of a document describes."""
    return {
        (int(status), code)
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for code in _codes(resolved(document, response)["content"]["application/json"]["schema"])
    }


def _codes(schema: dict[str, Any]) -> list[str]:
    codes: list[str] = schema["properties"]["error"]["properties"]["code"]["enum"]
    return codes


def json_parts(media_type: str, body: bytes) -> list[Any]:
    """Return the JSON of an answer: one document, that of each event of a stream, or nothing for a file."""
    if media_type == "application/json":
        return [json.loads(body)]
    if media_type != "text/event-stream":
        return []
    events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
    return [json.loads(event) for event in events if event != END_OF_STREAM]


@cache
def document(door: str) -> dict[str, Any]:
    """Return a committed document whose objects hold no field but those that they name."""
    found: dict[str, Any] = json.loads((FOLDER / f"{door}.json").read_text(encoding="utf-8"))
    found["components"]["schemas"] = {name: closed(each) for name, each in found["components"]["schemas"].items()}
    return found


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") == "object" and "properties" in schema:
        return {"additionalProperties": False, **deepcopy(schema)}
    return schema


@cache
def validator(door: str, schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": document(door)["components"]})
