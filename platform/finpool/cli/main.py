"""The command line `finpool`: its commands, and their exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from finpool.cli.audit import audit_app
from finpool.cli.billing import dispute_app, invoice_app, top_up
from finpool.cli.capacity import show_capacity
from finpool.cli.contracts import contract_app, pool_app
from finpool.cli.corrections import correct_usage, list_estimated
from finpool.cli.declared import apply, show_plan
from finpool.cli.leases import lease_app
from finpool.cli.ledger import ledger_app, save_invoice
from finpool.cli.limits import limits_app, show_account
from finpool.cli.local import doctor, down, migrate, status, up
from finpool.cli.output import show_error
from finpool.cli.prices import price_app
from finpool.cli.serve import serve
from finpool.cli.spool import spool_app
from finpool.cli.tenancy import key_app, project_app, tenant_app
from finpool.cli.token import token_app
from finpool.cli.versions import model_app
from finpool.cli.views import list_models, pull_model, show_model, usage_app
from finpool.client.errors import CliError, ExitCode, as_cli_error
from finpool.kernel.version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A shared model platform for a financial sector.",
)
app.command()(up)
app.command()(down)
app.command()(status)
app.command()(doctor)
app.command()(migrate)
app.command()(serve)
app.command("plan")(show_plan)
app.command()(apply)
app.add_typer(tenant_app, name="tenant")
app.add_typer(project_app, name="project")
app.add_typer(key_app, name="key")
app.add_typer(token_app, name="token")
app.add_typer(limits_app, name="limits")
app.command("account")(show_account)
app.add_typer(lease_app, name="lease")
model_app.command("list")(list_models)
model_app.command("show")(show_model)
model_app.command("pull")(pull_model)
app.add_typer(model_app, name="model")
usage_app.command("estimated")(list_estimated)
usage_app.command("correct")(correct_usage)
app.add_typer(usage_app, name="usage")
app.add_typer(price_app, name="price")
app.add_typer(contract_app, name="contract")
app.add_typer(pool_app, name="pool")
app.command("capacity")(show_capacity)
invoice_app.command("save")(save_invoice)
app.add_typer(invoice_app, name="invoice")
app.add_typer(dispute_app, name="dispute")
app.command("top-up")(top_up)
app.add_typer(ledger_app, name="ledger")
app.add_typer(audit_app, name="audit")
app.add_typer(spool_app, name="spool")


def print_version(asked: bool) -> None:
    """Print the version and exit, if `--version` is given."""
    if asked:
        typer.echo(f"finpool {VERSION}")
        raise typer.Exit


@app.callback()
def read_options(
    _: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read the options of `finpool` itself, before a command."""


def main() -> None:
    """Run the command line and exit with one of `ExitCode`; only the user may read the files it creates."""
    os.umask(0o077)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; print an expected error as one message, and raise a defect."""
    as_json = "--json" in arguments
    try:
        ended = int(app(arguments, prog_name="finpool", standalone_mode=False) or ExitCode.OK)
        if ended != ExitCode.INTERRUPTED:
            return ended
        shown = CliError(
            "interrupted; started processes go on running", code="interrupted", exit_code=ExitCode.INTERRUPTED
        )
    except typer.TyperException as error:
        usage = error.exit_code == ExitCode.USAGE
        exit_code = ExitCode.USAGE if usage else ExitCode.FAILED
        shown = CliError(error.format_message(), code="usage" if usage else "failed", exit_code=exit_code)
    except typer.Abort:
        shown = CliError("stopped", code="stopped")
    except Exception as error:
        expected = as_cli_error(error)
        if expected is None:
            raise
        shown = expected
    show_error(shown, as_json=as_json)
    return int(shown.exit_code)


if __name__ == "__main__":
    main()
