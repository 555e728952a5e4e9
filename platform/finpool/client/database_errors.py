"""The text of a database error with advice, in one line; never a statement, its parameters or a URL."""

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

_ADVICE = (
    (("28P01", "28000"), "put the right user and password in FINPOOL_<ROLE>_DATABASE_URL"),
    (("3D000",), "create the database, or name the right one in FINPOOL_<ROLE>_DATABASE_URL"),
    (("42883", "42P01", "42703", "3F000"), "the database is not up to date: run `finpool migrate`"),
    (("42501",), "the role may not do this: put the role that the command needs in FINPOOL_<ROLE>_DATABASE_URL"),
    (("53300",), "end other connections, or raise the server's max_connections"),
    (("57P03", "57P01"), "the database is starting or stopping: try again soon"),
)


def database_fault(error: Exception) -> str | None:
    """Return the line for an error of the database or its driver, or None for any other error."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        text, state = str(error.orig.__cause__ or error.orig), getattr(error.orig, "sqlstate", None)
    elif isinstance(error, asyncpg.PostgresError):
        text, state = str(error), error.sqlstate
    elif isinstance(error, SQLAlchemyError | asyncpg.InterfaceError):
        text, state = str(error), None
    else:
        return None
    first_line = (text.splitlines() or [type(error).__name__])[0]
    advice = next((advice for states, advice in _ADVICE if state in states), None)
    return f"the database refused: {first_line}" + ("" if advice is None else f"; {advice}")
