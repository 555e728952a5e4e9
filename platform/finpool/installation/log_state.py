"""The state of the audit log on this machine, read from its database: the doors may be down.

The libraries of the database are imported late, because every command imports this module.
"""

import asyncio

from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.installation.postgres import running_url
from finpool.kernel.settings import Settings

_ANSWER_SECONDS_MAX = 5.0


class LogStateUnknown(Exception):
    """The database did not say how fresh the log is."""


def log_freshness(settings: Settings) -> LogFreshnessView | None:
    """Return the freshness of the log, or None without a running database on this machine.

    Raises `LogStateUnknown` if the database gives no answer.
    """
    url = settings.operator_database_url
    found = url.get_secret_value() if url is not None else running_url(settings.home, "operator")
    return None if found is None else asyncio.run(_read(found, settings.audit_waiting_seconds_max))


async def _read(url: str, waiting_seconds_max: float) -> LogFreshnessView:
    from sqlalchemy.exc import SQLAlchemyError

    from finpool.audit.freshness import freshness
    from finpool.kernel.database.database import Database

    database = Database(url, connections_max=1)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX), database.across_tenants() as session:
            return await freshness(session, waiting_seconds_max)
    except (OSError, SQLAlchemyError, TimeoutError) as error:
        raise LogStateUnknown(
            f"the database does not say how fresh the audit log is ({type(error).__name__})"
        ) from error
    finally:
        await database.close()
