"""`finpool model list`, `finpool model pull` and `finpool usage`: the operators' views of models and usage."""

from typing import Annotated, Any

import typer

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.weights.service import ensure_weights
from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_lines, show_table
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode
from finpool.installation.home.home import local_settings
from finpool.metering.usage.schemas import UsageDimension

usage_app = typer.Typer(no_args_is_help=True, help="Recorded usage.")

_MODEL_COLUMNS = ("id", "title", "kind", "engine", "context_tokens", "licence", "price_version")
_SHARE_COLUMNS = (
    "window",
    "tenant_id",
    "requests",
    "service",
    "share",
    "entitled_share",
    "noisy_neighbour_index",
    "queue_ms_median",
    "queue_ms_p95",
)
_COUNT_COLUMNS = ("requests", "input_tokens", "cached_input_tokens", "output_tokens", "cost_micros", "currency")


def list_models(json: JsonOption = False) -> None:
    """List the models that the platform serves."""
    models = operator_api().list("/v1/models")
    if json:
        show_json(models)
    else:
        rows = ([model.get(column) for column in _MODEL_COLUMNS] for model in models)
        show_table(_MODEL_COLUMNS, rows, empty="No models.")


def show_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model id.")], json: JsonOption = False
) -> None:
    """Show a model: capabilities, context, default and largest output, licence and price."""
    found = next((each for each in operator_api().list("/v1/models") if each["id"] == model), None)
    if found is None:
        raise CliError(
            f"the model '{model}' is not in the catalogue", code="model_not_found", exit_code=ExitCode.FAILED
        )
    if json:
        show_json(found)
    else:
        price = {f"price.{name}": value for name, value in found["price"].items()}
        show_fields({name: value for name, value in found.items() if name not in ("object", "price")} | price)


def pull_model(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Model id; without one all models.")] = None,
    json: JsonOption = False,
) -> None:
    """Fetch and verify weights on this machine, so that a later start does not wait for them."""
    settings = local_settings()
    catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
    models = catalogue.on_pool() if model is None else (catalogue.get(model),)
    progress = _silent if json else _line
    pulled = [{"id": each.id, "path": str(ensure_weights(each, settings, progress))} for each in models]
    if json:
        show_json(pulled)
    else:
        show_table(("id", "path"), ([each["id"], each["path"]] for each in pulled), empty="No models.")


@usage_app.command("show")
def show_usage(
    start: Annotated[
        str | None, typer.Option("--from", help="Begin: date, date and time with zone, or Unix seconds.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, not included; now if left out.")] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            metavar=",".join(UsageDimension),
            help="One or several dimensions; the option may be repeated.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the usage of all tenants, by default of this month."""
    dimensions = [UsageDimension.TENANT] if group_by is None else _dimensions(group_by)
    query = {"from": start, "to": end, "group_by": ",".join(dimensions)}
    answer = operator_api().get("/v1/usage", query)
    if json:
        show_json(answer)
        return
    groups: list[dict[str, Any]] = answer["data"]
    without_id = (UsageDimension.DAY, UsageDimension.OPERATION)
    columns = [str(dimension) if dimension in without_id else f"{dimension}_id" for dimension in dimensions]
    columns += _COUNT_COLUMNS
    show_lines([f"from {answer['from']} to {answer['to']}"])
    show_table(columns, ([group.get(column) for column in columns] for group in groups), empty="Nothing was used.")


@usage_app.command("shares")
def show_service_shares(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model id; its adapters share its engine.")],
    start: Annotated[str | None, typer.Option("--from", help="Begin; an hour ago if left out.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, not included; now if left out.")] = None,
    window_seconds: Annotated[int, typer.Option(min=60, max=86_400, help="Length of a window.")] = 60,
    json: JsonOption = False,
) -> None:
    """Show each tenant's service from a model's engine, beside its entitled share and its queueing times."""
    query = {"from": start, "to": end, "window_seconds": window_seconds}
    answer = operator_api().get(f"/v1/models/{segment(model)}/service-shares", query)
    if json:
        show_json(answer)
        return
    rows = [{"window": window["start"], **each} for window in answer["data"] for each in window["tenants"]]
    show_table(_SHARE_COLUMNS, ([row.get(column) for column in _SHARE_COLUMNS] for row in rows), empty="Nothing.")


def _dimensions(given: list[str]) -> list[UsageDimension]:
    """Return the dimensions of `tenant,model`, also from several options, in order and without repetitions."""
    names = dict.fromkeys(name.strip() for each in given for name in each.split(","))
    if unknown := [name for name in names if name not in tuple(UsageDimension)]:
        raise CliError(
            f"--group-by takes {', '.join(UsageDimension)}, not {unknown[0]!r}", code="usage", exit_code=ExitCode.USAGE
        )
    return [UsageDimension(name) for name in names]


def _silent(_: str) -> None:
    """Ignore progress, because JSON output shows none."""


def _line(text: str) -> None:
    show_lines([text])
