"""Tenants as code: one folder for each tenant, with a `tenant.yaml` that a JSON Schema describes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from jsonschema import Draft202012Validator

from finpool.apps.client.errors import DeclarationsInvalid
from finpool.kernel.strict_yaml import load_yaml

FILE_NAME = "tenant.yaml"
SCHEMA_PATH = Path("_schema") / "tenant.schema.json"

LIMIT_FIELDS = ("budget_micros", "requests_per_minute", "tokens_per_minute", "concurrency")


@dataclass(frozen=True, slots=True)
class Limits:
    """A tenant's limits; a rate of None is not limited."""

    budget_micros: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> Self:
        """Read the four fields out of a declaration or an API's answer."""

        def rate(field: str) -> int | None:
            # JSON Schema takes 1.0 for an integer; the platform's API does not.
            return None if source.get(field) is None else int(source[field])

        return cls(
            budget_micros=int(source["budget_micros"]),
            requests_per_minute=rate("requests_per_minute"),
            tokens_per_minute=rate("tokens_per_minute"),
            concurrency=rate("concurrency"),
        )


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is declared, or as the platform has it. `models` is sorted; `projects` are names by id."""

    id: str
    name: str
    models: tuple[str, ...]
    projects: Mapping[str, str]
    limits: Limits


def load_declarations(directory: Path) -> list[Tenant]:
    """Read every tenant under `directory`, in order of id; raise `DeclarationsInvalid` with all faults of all files.

    Folders whose names start with `_` hold the schema and the template and declare nothing.
    """
    validator = _validator(directory)
    files = sorted(directory.glob(f"[!_.]*/{FILE_NAME}"))
    if not files:
        raise DeclarationsInvalid([f"{directory}: no tenant is declared here (<tenant>/{FILE_NAME})"])
    tenants: list[Tenant] = []
    faults: list[str] = []
    for file in files:
        document, found = _read(file)
        found = found or _faults(file, document, validator)
        faults += found
        if not found:
            tenants.append(_tenant(document))
    if faults:
        raise DeclarationsInvalid(faults)
    return tenants


def _validator(directory: Path) -> Draft202012Validator:
    path = directory / SCHEMA_PATH
    try:
        return Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DeclarationsInvalid([f"{path}: {error.strerror}; is {directory} a directory of tenants?"]) from error
    except ValueError as error:
        raise DeclarationsInvalid([f"{path}: not valid JSON: {error}"]) from error


def _read(file: Path) -> tuple[Any, list[str]]:
    try:
        return load_yaml(file.read_text(encoding="utf-8")), []
    except (OSError, UnicodeDecodeError) as error:
        return None, [f"{file}: cannot be read: {error}"]
    except yaml.YAMLError as error:
        return None, [f"{file}: not valid YAML: {' '.join(str(error).split())}"]


def _faults(file: Path, document: Any, validator: Draft202012Validator) -> list[str]:
    faults = [
        f"{file}: {error.json_path.removeprefix('$').lstrip('.') or 'document'}: {error.message}"
        for error in sorted(validator.iter_errors(document), key=lambda error: error.json_path)
    ]
    if faults:
        return faults
    if document["id"] != file.parent.name:
        faults.append(f"{file}: id: {document['id']!r} must equal the folder's name {file.parent.name!r}")
    ids = [project["id"] for project in document["projects"]]
    faults += [f"{file}: projects: {each!r} is declared twice" for each in sorted({i for i in ids if ids.count(i) > 1})]
    if "*" in document["models"] and len(document["models"]) > 1:
        faults.append(f"{file}: models: '*' stands for every model and must stand alone")
    return faults


def _tenant(document: Mapping[str, Any]) -> Tenant:
    return Tenant(
        id=document["id"],
        name=document["name"],
        models=tuple(sorted(document["models"])),
        projects={project["id"]: project["name"] for project in document["projects"]},
        limits=Limits.of(document["limits"]),
    )
