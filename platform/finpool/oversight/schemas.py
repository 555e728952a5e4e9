"""Queries and answers of the regulator API."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.audit.schemas import SEQ_MAX, Entry, Head
from finpool.kernel.ids import SLUG_PATTERN, TenantId
from finpool.kernel.paging import Listed


class RecentUse(BaseModel):
    """Use of the last 30 days. Cached tokens are part of the input tokens."""

    requests: int
    input_tokens: int
    output_tokens: int


class InstitutionView(Listed):
    """One tenant. Times are Unix seconds, None without any use; `models` may be `*`, every shared model."""

    object: Literal["institution"] = "institution"
    id: TenantId
    name: str
    status: str
    models: list[str]
    projects: int
    created_at: int
    first_used_at: int | None
    last_used_at: int | None
    last_30_days: RecentUse


class EntriesQuery(BaseModel):
    """The next audit entries after a number, of one tenant or of all."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(None, ge=-1, le=SEQ_MAX, description="`next` of the page before; by default the first.")
    limit: int = Field(100, ge=1, le=1000)
    tenant_id: TenantId | None = Field(None, pattern=SLUG_PATTERN, description="Only entries about this tenant.")


class EntryList(BaseModel):
    """Entries exactly as they were hashed. `next` is None on the last page; `head` is None if the log is empty.

    Keep the head: a later log that still leads to it proves that no entry was cut off or changed. `freshness` is of the
    whole log, also for entries of one tenant.
    """

    object: Literal["list"] = "list"
    data: list[Entry]
    head: Head | None
    next: int | None
    freshness: LogFreshnessView
