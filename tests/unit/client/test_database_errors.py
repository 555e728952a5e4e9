"""A database's refusal is one line that says the remedy, and gives nothing away."""

import asyncpg
import pytest
from sqlalchemy.exc import ArgumentError, ProgrammingError

from finpool.client.errors import as_cli_error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (asyncpg.InvalidPasswordError('password authentication failed for user "finpool_owner"'), "password"),
        (asyncpg.InvalidCatalogNameError('database "finpool" does not exist'), "create the database"),
        (asyncpg.UndefinedTableError('relation "platform_token" does not exist'), "finpool migrate"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), "try again soon"),
        (asyncpg.DivisionByZeroError("division by zero\nand more"), "division by zero"),
        (asyncpg.InterfaceError("connection is closed"), "connection is closed"),
        (ArgumentError("Could not parse the URL"), "Could not parse"),
    ],
)
def test_each_refusal_is_one_line_that_says_what_to_do(error: Exception, advice: str) -> None:
    shown = as_cli_error(error)
    assert shown is not None
    assert shown.code == "database"
    assert shown.message.startswith("the database refused: ")
    assert advice in shown.message
    assert "\n" not in shown.message


def test_neither_the_statement_nor_its_parameters_are_shown() -> None:
    wrapped = ProgrammingError("INSERT INTO platform_token", {"secret": "fpo_abc"}, Exception("no such table"))
    shown = as_cli_error(wrapped)
    assert shown is not None
    assert shown.message == "the database refused: no such table"


def test_a_defect_stays_a_traceback() -> None:
    assert as_cli_error(RuntimeError("a defect")) is None
