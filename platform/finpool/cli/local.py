"""`finpool up`, `down`, `status`, `doctor` and `migrate`: the platform on this machine.

Imports of `up` and `migrate` alone stay inside them, because every process starts through this command line.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import finpool
from finpool.cli.output import JsonOption, show_json, show_lines, show_table
from finpool.client.errors import CliError, ExitCode
from finpool.installation import down as stopping
from finpool.installation.doctor import doctor as examination
from finpool.installation.doctor.running_checks import examine_running
from finpool.installation.home.home import local_settings
from finpool.installation.progress import Progress
from finpool.kernel.settings import Settings

if TYPE_CHECKING:
    from finpool.installation.up import Started

TenantsOption = Annotated[
    Path | None, typer.Option("--tenants", help="Directory of tenants to apply; by default tenants/ here.")
]


def up(tenants: TenantsOption = None, json: JsonOption = False) -> None:
    """Start the missing parts of the platform on this machine, and wait until a model has answered."""
    from finpool.installation.up import up as bring_up

    started = bring_up(local_settings(), (tenants or _default_tenants()).resolve(), _progress(json=json))
    if json:
        show_json(asdict(started))
    else:
        show_lines(_how_to_call(started))


def down(json: JsonOption = False) -> None:
    """Stop the platform on this machine; nothing is lost, and `finpool up` continues from there."""
    ended = stopping.down(local_settings(), _progress(json=json))
    if json:
        show_json(ended)
    else:
        stopped = [name for name, how in ended.items() if how != "not running"]
        show_lines([f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running."])


def status(json: JsonOption = False) -> None:
    """Show the processes of this machine; exit code 1 unless all are ready."""
    states = stopping.status(local_settings())
    if json:
        show_json([asdict(state) for state in states])
    else:
        rows = [(each.name, _state(each), each.pid, each.port, each.log) for each in states]
        show_table(("process", "state", "pid", "port", "log"), rows, empty="")
        waiting = [each.records_waiting for each in states if each.records_waiting is not None]
        show_lines(f"spool: {count} records wait to be recorded" for count in waiting)
        show_lines(f"log: {fault}" for each in states for fault in each.log_faults or ())
        show_lines(f"model {model}: {stage}" for each in states for model, stage in (each.background or {}).items())
    if not all(each.ready for each in states):
        raise typer.Exit(ExitCode.FAILED)


def doctor(json: JsonOption = False) -> None:
    """Check for faults that stop the platform from starting, and for stuck parts; exit code 1 on any fault."""
    settings = local_settings()
    checks = examination.examine(settings) + examine_running(settings)
    if json:
        show_json([asdict(check) for check in checks])
    else:
        show_table(
            ("", "check", "finding"),
            (("ok" if check.ok else "FAIL", check.name, check.detail) for check in checks),
            empty="",
        )
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def migrate(json: JsonOption = False) -> None:
    """Create or update the database's roles and schema; safe to run again."""
    from finpool.apps.migrate import migrate as migrate_database

    migrate_database(Settings())
    if json:
        show_json({"migrated": True})
    else:
        show_lines(["The database is up to date."])


def _default_tenants() -> Path:
    """Return tenants/ of the current directory, or of the checkout that holds this package."""
    checkout = Path(finpool.__file__).parents[2]
    for directory in (Path("tenants"), checkout / "tenants"):
        if directory.is_dir():
            return directory
    raise CliError("there is no directory tenants/ here: run this in the checkout, or give --tenants DIR")


def _progress(*, json: bool) -> Progress:
    return Progress(None if json else Console())


def _state(state: stopping.ProcessStatus) -> str:
    if not state.running:
        return "stopped"
    return "ready" if state.ready else "starting or failing"


def _in_the_background(stages: dict[str, str]) -> list[str]:
    if not stages:
        return []
    models = "; ".join(f"{model} ({stage})" for model, stage in stages.items())
    return [f"Made ready in the background: {models}.", "`finpool status` says when they serve.", ""]


def _how_to_call(started: "Started") -> list[str]:
    return [
        "",
        f"FinPool is up. {started.model_id} answered bank A: {' '.join(started.answer.split())}",
        "",
        f"  banks       {started.base_url}",
        f"  operators   {started.operator_url}",
        f"  regulators  {started.regulator_url}",
        f"  demo keys   {started.demo_env}",
        "",
        *_in_the_background(started.background),
        "Call it as bank A:",
        "",
        f"  set -a; . {started.demo_env}; set +a",
        '  curl "$FINPOOL_BASE_URL/chat/completions" \\',
        '    -H "Authorization: Bearer $BANK_A_KEY" -H "Content-Type: application/json" \\',
        f'    -d \'{{"model": "{started.model_id}", "max_tokens": 64,'
        ' "messages": [{"role": "user", "content": "What is a bank?"}]}\'',
        "",
        "Or from Python, with the official client (`pip install openai`):",
        "",
        "  import os",
        "  from openai import OpenAI",
        '  client = OpenAI(base_url=os.environ["FINPOOL_BASE_URL"], api_key=os.environ["BANK_A_KEY"])',
        "  answer = client.chat.completions.create(",
        f'      model="{started.model_id}", max_tokens=64,',
        '      messages=[{"role": "user", "content": "What is a bank?"}],',
        "  )",
        "  print(answer.choices[0].message.content, answer.usage)",
        "",
        "See what runs with `finpool status`; stop it with `make down` or `finpool down`.",
    ]
