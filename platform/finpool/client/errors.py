"""The exit codes of the command line, and the errors that carry them. docs/cli.md lists the codes."""

import sys
from enum import IntEnum

from pydantic import ValidationError

from finpool.kernel.errors import ConfigurationError, DomainError
from finpool.kernel.faults import words_of
from finpool.kernel.settings import Settings
from finpool.metering.errors import SpoolLocked, SpoolNotFound, SpoolUnusable


class ExitCode(IntEnum):
    """An exit code of `finpool`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    DIFFERENCES = 4
    VERIFICATION_FAILED = 5
    INTERRUPTED = 130


class CliError(Exception):
    """An error that ends a command: a message for people, a stable code for machines, and the exit code."""

    def __init__(self, message: str, *, code: str = "failed", exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code


class Unreachable(CliError):
    """The platform's address gives no answer, or none in time."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"cannot reach {url}: {reason}; is the platform up (`finpool status`)?",
            code="unreachable",
            exit_code=ExitCode.UNREACHABLE,
        )


class Refused(CliError):
    """The platform answered with an error. `status` is the HTTP status, `code` the platform's error code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class DeclarationsInvalid(CliError):
    """The declarations under tenants/ are invalid; the message has one line for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults), code="declarations_invalid")
        self.faults = faults


def as_cli_error(error: Exception) -> CliError | None:
    """Return the error to show for an expected exception, or None for a defect."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, ConfigurationError):
        return CliError(str(error), code="configuration")
    if isinstance(error, DomainError):
        return CliError(error.message, code=error.code)
    if isinstance(error, SpoolUnusable | SpoolLocked | SpoolNotFound):
        return CliError(str(error), code="spool")
    if isinstance(error, ValidationError) and error.title == Settings.__name__:
        faults = (f"FINPOOL_{str(fault['loc'][0]).upper()}: {words_of(fault)}" for fault in error.errors())
        return CliError("\n".join(faults), code="configuration")
    if "sqlalchemy" in sys.modules:  # Most commands only call an API and never load the database's libraries.
        from finpool.client.database_errors import database_fault

        if (fault := database_fault(error)) is not None:
            return CliError(fault, code="database")
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return CliError(f"{error.strerror or error}{where}", code="system")
    return None
