"""`finpool price`: the prices of a model's tokens, with their start times."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_table
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode

price_app = typer.Typer(no_args_is_help=True, help="Prices of a model, with their start times.")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Model id.")]
AmountOption = Annotated[int, typer.Option(min=0, help="Micros of the currency per million tokens.")]
FromOption = Annotated[str | None, typer.Option("--from", help="Start: date and time with zone; by default now.")]

_AMOUNTS = ("input", "cached_input", "output")
_COLUMNS = ("tier", "valid_from", *_AMOUNTS, "hours_utc", "price_version", "in_force")


class PricedTier(StrEnum):
    """The tier of a price."""

    STANDARD = "standard"
    BATCH = "batch"
    OFF_PEAK = "off_peak"


class EndedTier(StrEnum):
    """The tiers whose price can be ended."""

    BATCH = "batch"
    OFF_PEAK = "off_peak"


@price_app.command("list")
def list_prices(model: ModelArgument, json: JsonOption = False) -> None:
    """List a model's prices: the declared one, and the scheduled ones in order of their start."""
    listed = operator_api().get(_path(model))
    if json:
        show_json(listed)
        return
    declared = {
        "tier": "standard",
        "valid_from": "as declared",
        "price": listed["declared"],
        "price_version": listed["declared_price_version"],
        "in_force": listed["declared_in_force"],
    }
    rows = [_row(each) for each in (declared, *listed["data"])]
    show_table(_COLUMNS, ([row[column] for column in _COLUMNS] for row in rows), empty="No prices.")


@price_app.command("schedule")
def schedule_price(
    model: ModelArgument,
    input_: Annotated[int, typer.Option("--input", min=0, help="Micros of the currency per million tokens.")],
    cached_input: AmountOption,
    output: AmountOption,
    tier: Annotated[PricedTier, typer.Option(help="Tier of the price.")] = PricedTier.STANDARD,
    begins: FromOption = None,
    hours: Annotated[
        str | None, typer.Option(metavar="HH:MM-HH:MM", help="Off-peak hours in UTC, such as 22:00-06:00.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Schedule a price; requests admitted before its start keep their price."""
    start, _, end = (hours or "").partition("-")
    if hours is not None and not (start and end):
        raise CliError(
            f"--hours takes two times such as 22:00-06:00, not {hours!r}", code="usage", exit_code=ExitCode.USAGE
        )
    amounts = {"input": input_, "cached_input": cached_input, "output": output}
    body = {
        "tier": tier,
        "price": {f"{kind}_micros_per_million_tokens": amount for kind, amount in amounts.items()},
        "valid_from": begins,
        "off_peak_from": start or None,
        "off_peak_until": end or None,
    }
    _show(operator_api().post(_path(model), body), json=json)


@price_app.command("end")
def end_price(
    model: ModelArgument,
    tier: Annotated[EndedTier, typer.Argument(metavar="TIER", help="batch or off_peak.")],
    begins: FromOption = None,
    json: JsonOption = False,
) -> None:
    """End a model's batch or off-peak price."""
    _show(operator_api().post(_path(model), {"tier": tier, "price": None, "valid_from": begins}), json=json)


def _path(model: str) -> str:
    return f"/v1/models/{segment(model)}/prices"


def _row(price: dict[str, Any]) -> dict[str, Any]:
    amounts = price["price"] or {}
    hours = f"{price['off_peak_from']}-{price['off_peak_until']}" if price.get("off_peak_from") else None
    return {
        **{kind: amounts.get(f"{kind}_micros_per_million_tokens") for kind in _AMOUNTS},
        "tier": price["tier"],
        "valid_from": price["valid_from"],
        "hours_utc": hours,
        "price_version": price["price_version"] or "ended",
        "in_force": "yes" if price["in_force"] else "no",
    }


def _show(price: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(price)
    else:
        row = _row(price)
        show_fields({column: row[column] for column in _COLUMNS})
