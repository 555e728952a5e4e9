"""`finpool capacity`: the pool's capacity, the unused part of it, and the needs of a new bank."""

from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_lines, show_table
from finpool.client.errors import CliError, ExitCode

_NODE_COLUMNS = ("id", "cpus", "cpus_free", "accelerator", "accelerators", "accelerators_free_percent", "memory_bytes")
_VERSION_COLUMNS = (
    "model",
    "version",
    "state",
    "replicas_max",
    "cpus",
    "accelerator",
    "accelerator_percent",
    "output_tokens_per_second",
    "used_percent",
    "output_tokens_per_second_left",
    "more_that_fit",
)


def show_capacity(
    model: Annotated[
        str | None, typer.Option("--model", help="Model of a new bank; needs its token rates, too.")
    ] = None,
    output_tokens_per_second: Annotated[
        int | None, typer.Option(min=0, help="Generated tokens per second of the bank at its peak.")
    ] = None,
    input_tokens_per_second: Annotated[int, typer.Option(min=0, help="Prompt tokens per second at its peak.")] = 0,
    headroom_percent: Annotated[int, typer.Option(min=0, max=90, help="Percentage of each engine to keep free.")] = 20,
    window_seconds: Annotated[int, typer.Option(min=60, help="Length of the window of past usage.")] = 900,
    json: JsonOption = False,
) -> None:
    """Show nodes and engines with their free capacity from measured rates; or, with --model, a new bank's needs."""
    if (model is None) != (output_tokens_per_second is None):
        raise CliError("--model and --output-tokens-per-second go together", code="usage", exit_code=ExitCode.USAGE)
    query: dict[str, Any] = {"window_seconds": window_seconds}
    if model is None:
        answer = operator_api().get("/v1/capacity", query)
    else:
        rates = {
            "output_tokens_per_second": output_tokens_per_second,
            "input_tokens_per_second": input_tokens_per_second,
            "headroom_percent": headroom_percent,
        }
        answer = operator_api().get("/v1/capacity/estimate", {**query, "model": model, **rates})
    if json:
        show_json(answer)
    elif model is None:
        _show(answer)
    else:
        show_fields({**answer, "replicas_that_fit": _places(answer["replicas_that_fit"])})


def _show(answer: dict[str, Any]) -> None:
    show_table(_NODE_COLUMNS, ([node[name] for name in _NODE_COLUMNS] for node in answer["nodes"]), empty="No nodes.")
    show_lines([""])
    rows = ({**each, "more_that_fit": _places(each["replicas_that_fit"])} for each in answer["versions"])
    show_table(_VERSION_COLUMNS, ([row[name] for name in _VERSION_COLUMNS] for row in rows), empty="No versions.")


def _places(fitting: dict[str, int]) -> str:
    return " ".join(f"{node}:{count}" for node, count in fitting.items()) or "none"
