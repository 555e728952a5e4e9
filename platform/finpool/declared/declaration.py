"""Tenants as code: one folder for each tenant, with a `tenant.yaml` that a JSON Schema describes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from finpool.client.errors import DeclarationsInvalid
from finpool.kernel.strict_yaml import load_yaml
from finpool.quota.schemas import Limits, Scope

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator  # Most commands validate nothing, and it takes long to load.

FILE_NAME = "tenant.yaml"
SCHEMA_PATH = Path("_schema") / "tenant.schema.json"

BUDGET_FIELDS = ("budget_day_micros", "budget_month_micros", "budget_total_micros")
"""The budgets of a tenant. A declaration needs at least one: a tenant without a budget may spend nothing."""


class LimitSubject(NamedTuple):
    """The scope of limits: the tenant itself, or one of its projects, keys or models."""

    scope: Scope
    scope_id: str


@dataclass(frozen=True, slots=True)
class DeclaredTenant:
    """A tenant as it is declared, or as the platform has it.

    `models` is sorted. `projects` maps ids to names. `limits` are the operator's, those of the whole tenant first.
    """

    id: str
    name: str
    models: tuple[str, ...]
    projects: Mapping[str, str]
    limits: Mapping[LimitSubject, Limits]


def load_declarations(directory: Path) -> list[DeclaredTenant]:
    """Read every tenant under `directory`, ordered by folder; raise `DeclarationsInvalid` with all faults of all files.

    Folders whose names start with `_` hold the schema and the template, and declare no tenant.
    """
    validator = _validator(directory)
    files = sorted(directory.glob(f"[!_.]*/{FILE_NAME}"))
    if not files:
        raise DeclarationsInvalid([f"{directory}: no tenant is declared here (<tenant>/{FILE_NAME})"])
    tenants: list[DeclaredTenant] = []
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


def _validator(directory: Path) -> "Draft202012Validator":
    from jsonschema import Draft202012Validator

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


def _faults(file: Path, document: Any, validator: "Draft202012Validator") -> list[str]:
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
    return faults + [f"{file}: {fault}" for fault in _faults_of_limits(document, ids)]


def _faults_of_limits(document: Mapping[str, Any], projects: list[str]) -> Iterator[str]:
    if all(document["limits"].get(field) is None for field in BUDGET_FIELDS):
        yield f"limits: one of {', '.join(BUDGET_FIELDS)} must be given, or the tenant may spend nothing"
    seen: set[LimitSubject] = set()
    for number, each in enumerate(document.get("scoped_limits", [])):
        about = LimitSubject(Scope(each["scope"]), each["id"])
        where = f"scoped_limits[{number}]"
        if about in seen:
            yield f"{where}: {about.scope} {about.scope_id!r} is declared twice"
        if about.scope is Scope.PROJECT and about.scope_id not in projects:
            yield f"{where}.id: {about.scope_id!r} is not among the declared projects"
        if about.scope is Scope.MODEL and "*" not in document["models"] and about.scope_id not in document["models"]:
            yield f"{where}.id: {about.scope_id!r} is not among the declared models"
        seen.add(about)


def _tenant(document: Mapping[str, Any]) -> DeclaredTenant:
    limits = {LimitSubject(Scope.TENANT, document["id"]): _limits(document["limits"])}
    for each in document.get("scoped_limits", []):
        limits[LimitSubject(Scope(each["scope"]), each["id"])] = _limits(each)
    return DeclaredTenant(
        id=document["id"],
        name=document["name"],
        models=tuple(sorted(document["models"])),
        projects={project["id"]: project["name"] for project in document["projects"]},
        limits=limits,
    )


def _limits(declared: Mapping[str, Any]) -> Limits:
    """Read limits that the schema has accepted. JSON Schema accepts 1.0 as an integer, the platform's API does not."""
    fields: dict[str, Any] = {}
    for field in Limits.model_fields:
        value = declared.get(field)
        if isinstance(value, list):
            fields[field] = [int(each) for each in value]
        elif value is not None:
            fields[field] = int(value)
    return Limits(**fields)
