"""Output of commands: tables or JSON on standard output, errors on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from finpool.client.errors import CliError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def show_json(data: object) -> None:
    """Print `data` as one JSON document."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def show_lines(lines: Iterable[str]) -> None:
    """Print plain lines, without wrapping, so that users can copy them."""
    for line in lines:
        sys.stdout.write(line + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table, or the line `empty` without rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if table.row_count == 0:
        show_lines([empty])
    else:
        # A file or a pipe has no width, so no cell is folded.
        Console(width=None if sys.stdout.isatty() else 500, markup=False, highlight=False).print(table)


def show_fields(fields: dict[str, Any]) -> None:
    """Print one object, one field per line."""
    width = max(map(len, fields), default=0)
    show_lines(f"{name:<{width}}  {_cell(value)}" for name, value in fields.items())


def show_one(thing: dict[str, Any], *, as_json: bool) -> None:
    """Print one object of an API."""
    if as_json:
        show_json(thing)
    else:
        show_fields({field: value for field, value in thing.items() if field != "object"})


def show_list(things: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print a list of an API by some of its columns."""
    if as_json:
        show_json(things)
    else:
        show_table(columns, ([thing.get(column) for column in columns] for thing in things), empty=empty)


def show_error(error: CliError, *, as_json: bool) -> None:
    """Print an error on standard error."""
    if as_json:
        document = {"error": {"message": error.message, "code": error.code, "exit_code": int(error.exit_code)}}
        sys.stderr.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        sys.stderr.writelines(f"finpool: {line}\n" for line in error.message.splitlines())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
