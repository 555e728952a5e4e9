"""Settings of a process that reaches a test's database as every role."""

from collections.abc import Mapping
from typing import Any

from finpool.kernel.settings import Settings


def settings_for(urls: Mapping[str, str], **others: Any) -> Settings:
    """Return settings with one URL for each database role, and with the others."""
    of_roles: dict[str, Any] = {f"{role}_database_url": url for role, url in urls.items()}
    return Settings(**of_roles, **others)
