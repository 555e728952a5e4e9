"""Locks of database roles: a transaction locks a row that other roles neither see nor lock (ADR 0036)."""

from enum import StrEnum

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.database.models import RoleLock
from finpool.kernel.errors import ConfigurationError


class LockName(StrEnum):
    """The locks that a migration created, each with the roles that may take it."""

    AUDIT_SEQUENCER = "audit_sequencer"
    EXPIRED_REQUESTS = "expired_requests"
    GATEWAY_SHARES = "gateway_shares"
    SERVICE_GUARANTEES = "service_guarantees"
    MODEL_VERSIONS = "model_versions"


async def lock(session: AsyncSession, name: LockName) -> None:
    """Wait for a lock, and hold it until the transaction ends.

    Raises `ConfigurationError` if the lock is missing or is not for this role.
    """
    if (await session.execute(_row(name).with_for_update())).scalar_one_or_none() is None:
        raise ConfigurationError(f"this database role sees no lock {name.value!r}: run `finpool migrate`")


async def try_lock(session: AsyncSession, name: LockName) -> bool:
    """Take a lock until the transaction ends; return False if another transaction holds it.

    Raises `ConfigurationError` if the lock is missing or is not for this role.
    """
    if (await session.execute(_row(name).with_for_update(skip_locked=True))).scalar_one_or_none() is not None:
        return True
    if (await session.execute(_row(name))).scalar_one_or_none() is None:
        raise ConfigurationError(f"this database role sees no lock {name.value!r}: run `finpool migrate`")
    return False


def _row(name: LockName) -> Select[str]:
    return select(col(RoleLock.name)).where(col(RoleLock.name) == name.value)
