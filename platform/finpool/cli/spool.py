"""`finpool spool`: check, export and repair a damaged spool on its own machine or volume."""

import collections
import contextlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from finpool.cli.output import JsonOption, show_fields, show_json, show_lines
from finpool.client.errors import CliError, ExitCode
from finpool.installation.home.home import local_settings
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.repair import existing
from finpool.metering.spool.repair import repair as rebuild
from finpool.metering.spool.repair import set_aside as move_aside
from finpool.metering.spool.salvage import Findings, Salvage, exported

spool_app = typer.Typer(no_args_is_help=True, help="Repair of a replica's damaged spool.")

DirectoryOption = Annotated[
    Path | None, typer.Option("--directory", help="Directory of the spool; by default this replica's.")
]


@spool_app.command("check")
def check(directory: DirectoryOption = None, json: JsonOption = False) -> None:
    """Read the whole spool without changing it, and report the readable parts; exit code 5 on any damage."""
    path = existing(_directory(directory))
    with contextlib.closing(spool_file.connect_to_read(path)) as connection:
        salvage = Salvage(connection)
        for each in (salvage.intents(), salvage.aside(), salvage.records()):
            collections.deque(each, maxlen=0)
    found = salvage.findings
    if json:
        show_json({"file": str(path), "intact": found.intact, **asdict(found)})
    else:
        show_fields({"file": str(path), **_shown(found)})
        if not found.intact:
            show_lines(["", *_advice()])
    if not found.intact:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


@spool_app.command("export")
def export(
    output: Annotated[Path, typer.Option("--output", help="New file to write; it must not exist.")],
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Write every readable intent and record as JSON lines; undecodable ones are written as raw bytes."""
    path = existing(_directory(directory))
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        contextlib.closing(spool_file.connect_to_read(path)) as connection,
    ):
        salvage = Salvage(connection)
        for intent in salvage.intents():
            file.write(orjson.dumps(exported(intent)) + b"\n")
        for record in salvage.aside():
            file.write(orjson.dumps(exported(record, "aside")) + b"\n")
        for record in salvage.records():
            file.write(orjson.dumps(exported(record)) + b"\n")
    written = {"output": str(output), "file": str(path)}
    if json:
        show_json({**written, **asdict(salvage.findings)})
    else:
        show_fields({**written, **_shown(salvage.findings)})


@spool_app.command("repair")
def repair(
    directory: DirectoryOption = None,
    spool_id: Annotated[str | None, typer.Option(help="The spool's id, if the file lacks it.")] = None,
    last_seq: Annotated[int | None, typer.Option(min=0, help="The last used number, if the file lacks it.")] = None,
    json: JsonOption = False,
) -> None:
    """Build a new spool of the readable parts and move the damaged file aside; stop inference and worker first."""
    path = _directory(directory)
    made = rebuild(path, spool_id=spool_id, last_seq=last_seq)
    if made is None:
        if json:
            show_json({"finished": True})
        else:
            show_lines(["A repair that had been broken off is finished. Look at it with `finpool spool check`."])
        return
    if json:
        show_json(asdict(made))
        return
    next_line = f"{made.last_seq + 1}" if made.last_seq_known else f"{made.last_seq + 1} (the last one was lost)"
    show_fields(
        {
            **_shown(made.found),
            "damaged file": made.damaged_file,
            "next number": next_line,
        }
    )
    show_lines(["", "Start inference and worker again; keep the damaged file until its losses are accounted for."])


@spool_app.command("set-aside")
def set_aside(
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="Number of the record in the worker's log.")],
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Set one record aside that blocks the records behind it; inference and worker may keep running."""
    path = _directory(directory)
    move_aside(path, seq)
    if json:
        show_json({"directory": str(path), "set_aside": seq})
    else:
        show_lines([f"Record {seq} is set aside; `finpool spool export` still shows it."])


def _directory(given: Path | None) -> Path:
    directory = (given or local_settings().spool_path).expanduser().resolve()
    if not directory.is_dir():
        raise CliError(f"there is no directory {directory}", code="spool")
    return directory


def _shown(found: Findings) -> dict[str, Any]:
    """Return the findings with labels for an operator: first the counts, then the losses."""
    return {
        "spool id": found.spool_id,
        "open requests": found.intents,
        "records": found.records,
        "first number": found.first_seq,
        "last number": found.last_seq,
        "set aside": ", ".join(map(str, found.aside)) or "none",
        "numbers missing": ", ".join(found.missing) or "none",
        "records that cannot be decoded": ", ".join(map(str, found.damaged_records)) or "none",
        "open requests that cannot be decoded": ", ".join(found.damaged_intents) or "none",
        "faults of the file": "; ".join(" ".join(each.split()) for each in found.faults) or "none",
        "sha256 of what can be read": found.digest,
    }


def _advice() -> list[str]:
    return [
        "Keep a copy: `finpool spool export --output FILE` writes all that can be read.",
        "Then stop inference and worker (`finpool down`) and run `finpool spool repair`: it makes a new spool of it,",
        "in which numbers go on, and moves this file aside.",
    ]
