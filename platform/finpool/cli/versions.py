"""`finpool model ...`: the versions of a model, from proposal to retirement."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_table
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode
from finpool.kernel.strict_yaml import load_yaml

model_app = typer.Typer(no_args_is_help=True, help="Models of the catalogue, and their versions.")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Model id.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Name of the version.")]

_COLUMNS = (
    "version",
    "state",
    "share_basis_points",
    "share_wished_basis_points",
    "licence",
    "licence_accepted_by",
    "tokens_per_second",
    "first_token_ms",
    "memory_bytes",
    "progress",
    "fault",
)


@model_app.command("versions")
def list_versions(model: ModelArgument, json: JsonOption = False) -> None:
    """List a model's versions with their states, shares of the requests and measurements."""
    versions = operator_api().list(_path(model, "versions"))
    if json:
        show_json(versions)
    else:
        rows = ([_row(each)[column] for column in _COLUMNS] for each in versions)
        show_table(_COLUMNS, rows, empty="No versions: the pool has not seen this model yet.")


@model_app.command("propose")
def propose_version(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: version, engine, weights, limits, licence.")],
    json: JsonOption = False,
) -> None:
    """Propose a version; its weights are fetched after its licence is accepted."""
    try:
        declared = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CliError(f"{file} cannot be read: {error}", code="usage", exit_code=ExitCode.USAGE) from error
    _show_version(operator_api().post(_path(model, "versions"), declared), json=json)


@model_app.command("accept-licence")
def accept_licence(
    model: ModelArgument,
    version: VersionArgument,
    licence: Annotated[str, typer.Argument(metavar="LICENCE", help="The licence that is accepted, such as MIT.")],
    json: JsonOption = False,
) -> None:
    """Accept a version's licence by its SPDX expression."""
    _show_version(operator_api().post(_path(model, "versions", version, "licence"), {"licence": licence}), json=json)


@model_app.command("start")
def start_version(model: ModelArgument, version: VersionArgument, json: JsonOption = False) -> None:
    """Fetch, load and test a version; it gets requests only after a routing to it."""
    _show_version(operator_api().post(_path(model, "versions", version, "start"), {}), json=json)


@model_app.command("route")
def route(
    model: ModelArgument,
    shares: Annotated[
        list[str], typer.Argument(metavar="VERSION=BASIS_POINTS...", help="10000 together; 0 keeps a version ready.")
    ],
    json: JsonOption = False,
) -> None:
    """Set the versions' shares of a model's requests; they take effect once every version with a share serves."""
    _show_routing(operator_api().post(_path(model, "routing"), {"shares": dict(map(_basis_points, shares))}), json=json)


@model_app.command("promote")
def promote(model: ModelArgument, version: VersionArgument, json: JsonOption = False) -> None:
    """Route every request to one version; versions with a share stay loaded."""
    _show_routing(operator_api().post(_path(model, "versions", version, "promote"), {}), json=json)


@model_app.command("rollback")
def roll_back(model: ModelArgument, json: JsonOption = False) -> None:
    """Restore the routing before the latest change."""
    _show_routing(operator_api().post(_path(model, "routing", "rollback"), {}), json=json)


@model_app.command("retire")
def retire(model: ModelArgument, version: VersionArgument, json: JsonOption = False) -> None:
    """Retire a version without requests: its running answers are finished, then its engine ends."""
    _show_version(operator_api().post(_path(model, "versions", version, "retire"), {}), json=json)


def _path(model: str, *parts: str) -> str:
    return "/".join(("/v1/models", *map(segment, (model, *parts))))


def _basis_points(text: str) -> tuple[str, int]:
    version, _, points = text.rpartition("=")
    if not version or not points.isdecimal():
        raise CliError(
            f"a share is VERSION=BASIS_POINTS, such as 2=500, not {text!r}", code="usage", exit_code=ExitCode.USAGE
        )
    return version, int(points)


def _row(version: dict[str, Any]) -> dict[str, Any]:
    measured = version["measurements"] or {}
    return {
        **{column: version.get(column) for column in _COLUMNS},
        "tokens_per_second": measured.get("output_tokens_per_second_full"),
        "first_token_ms": measured.get("first_token_ms"),
        "memory_bytes": measured.get("memory_bytes"),
    }


def _show_version(version: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(version)
    else:
        show_fields(_row(version))


def _show_routing(routing: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(routing)
    else:
        split = " ".join(f"{version}={points}" for version, points in routing["shares"].items())
        show_fields({"model": routing["model"], "number": routing["number"], "shares": split})
