"""The command line `finpool`: every command, and how each of them ends."""

import sys
from collections.abc import Sequence

import typer

from finpool.apps.cli import commands_audit, commands_declared, commands_local, commands_tenancy, commands_views
from finpool.apps.cli.exits import CliError, ExitCode, as_cli_error
from finpool.apps.cli.output import show_error
from finpool.apps.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A shared model platform for a financial sector.",
)
app.command()(commands_local.up)
app.command()(commands_local.down)
app.command()(commands_local.status)
app.command()(commands_local.doctor)
app.command()(commands_local.migrate)
app.command()(serve)
app.command("plan")(commands_declared.show_plan)
app.command()(commands_declared.apply)
app.add_typer(commands_tenancy.tenant_app, name="tenant")
app.add_typer(commands_tenancy.project_app, name="project")
app.add_typer(commands_tenancy.key_app, name="key")
app.add_typer(commands_views.limits_app, name="limits")
app.add_typer(commands_views.model_app, name="model")
app.add_typer(commands_views.usage_app, name="usage")
app.add_typer(commands_audit.audit_app, name="audit")


def main() -> None:
    """Run the command line and exit with one of `ExitCode`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; expected errors become one message, defects a traceback."""
    as_json = "--json" in arguments
    try:
        return int(app(arguments, prog_name="finpool", standalone_mode=False) or ExitCode.OK)
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
