"""Entries of the audit log: their canonical JSON, and checks that need no database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Literal, Self

import orjson
import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from finpool.audit.event_types import EventType, subject_of
from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.kernel.actor import Actor
from finpool.kernel.ids import TenantId
from finpool.kernel.paging import Ids

ENTRY_BYTES_MAX = 65_535
"""The tiles of the transparency log hold an entry's length in two bytes."""

SEQ_MAX = 2**53 - 1
"""The largest integer of canonical JSON (RFC 8785)."""

TRAIL_PAGE_MAX = 100

EntryHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
UnixSeconds = Annotated[int, Field(ge=0, le=253_402_214_400)]
"""A moment up to the last day that a date can name."""

FIRST_PREVIOUS = bytes(32)
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event about one tenant or none, caused by an actor or by the platform itself."""

    kind: str
    tenant_id: TenantId | None
    actor: Actor | None
    body: Mapping[str, Any]


class Entry(BaseModel):
    """One entry exactly as it was hashed: `hash` is SHA-256 over the bytes of `previous`, then those of `entry`.

    `previous` and `hash` are 64 hexadecimal digits. `entry` is RFC 8785 JSON with seq, occurred_at, kind, tenant_id and
    body.
    """

    seq: int
    tenant_id: str | None
    entry: str
    previous: str
    hash: str


class Head(BaseModel):
    """The newest entry's number and hash. A copy kept outside proves later that no earlier entry was changed."""

    seq: int
    hash: str


class EntryPage(BaseModel):
    """Entries in order. `head` is None if the log is empty."""

    entries: list[Entry]
    head: Head | None


class TrailQuery(BaseModel):
    """A part of a tenant's own events: the filters of OpenAI's audit log, which all have to hold."""

    NOT_SERVED: ClassVar[Mapping[str, str]] = {
        "actor_emails": "actors are keys and tokens, which have no e-mail address, so filter by actor_ids",
        "tenant_only": "every event of this list is one of the tenant, so leave it out",
    }

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(20, ge=1, le=TRAIL_PAGE_MAX)
    after: EntryHash | None = Field(None, description="`last_id` of the page before; by default the newest events.")
    before: EntryHash | None = Field(None, description="`first_id` of the page after, to read the list backwards.")
    later_than: UnixSeconds | None = Field(None, alias="effective_at[gt]", description="Unix seconds.")
    from_second: UnixSeconds | None = Field(None, alias="effective_at[gte]", description="Unix seconds.")
    earlier_than: UnixSeconds | None = Field(None, alias="effective_at[lt]", description="Unix seconds.")
    to_second: UnixSeconds | None = Field(None, alias="effective_at[lte]", description="Unix seconds.")
    event_types: Ids = Field([], description="The `type` or the `kind` of events.")
    project_ids: Ids = Field([], description="Events about these projects, their keys and their usage.")
    actor_ids: Ids = Field([], description="Events that these keys or tokens caused (`details.actor.credential_id`).")
    resource_ids: Ids = Field([], description="Events that name one of these in a field of `details` ending with _id.")

    @property
    def backwards(self) -> bool:
        """Whether the page is read from its end, `before` an event."""
        return self.before is not None and self.after is None

    @property
    def begins_at(self) -> datetime | None:
        """The earliest moment of an event, or None. An event's `effective_at` is its moment without the fraction."""
        bounds = [_after(self.later_than), self.from_second]
        return max((datetime.fromtimestamp(each, UTC) for each in bounds if each is not None), default=None)

    @property
    def ends_before(self) -> datetime | None:
        """The end of the time range, exclusive, or None."""
        bounds = [_after(self.to_second), self.earlier_than]
        return min((datetime.fromtimestamp(each, UTC) for each in bounds if each is not None), default=None)


def _after(second: int | None) -> int | None:
    return None if second is None else second + 1


class TrailServiceAccount(BaseModel):
    """The key or token that acted, as OpenAI's service account."""

    id: str


class TrailApiKey(BaseModel):
    """The key of a tenant, or the token of an operator, that acted."""

    id: str
    type: Literal["service_account"] = "service_account"
    service_account: TrailServiceAccount


class TrailActor(BaseModel):
    """The actor of an event; people do not act without a key here, so it is never a session."""

    type: Literal["api_key"] = "api_key"
    api_key: TrailApiKey


class TrailProject(BaseModel):
    """The project of an event; its id stands for its name, which may change."""

    id: str
    name: str


class TrailEntry(BaseModel):
    """One event of a tenant's own trail, in OpenAI's shape; `id` is the entry's hash in the log.

    `type` is OpenAI's name, `kind` the platform's own, `details` its whole content. One field has the name of `type`
    and describes its subject. `actor` is null for the platform itself. The entry's number is left out, because it would
    show every bank the activity of the whole sector.
    """

    model_config = ConfigDict(populate_by_name=True)

    id: str
    type: EventType
    kind: str
    effective_at: int
    actor: TrailActor | None
    project: TrailProject | None
    details: dict[str, Any]
    api_key_created: dict[str, Any] | None = Field(None, alias="api_key.created")
    api_key_updated: dict[str, Any] | None = Field(None, alias="api_key.updated")
    api_key_deleted: dict[str, Any] | None = Field(None, alias="api_key.deleted")
    project_created: dict[str, Any] | None = Field(None, alias="project.created")
    project_updated: dict[str, Any] | None = Field(None, alias="project.updated")
    rate_limit_updated: dict[str, Any] | None = Field(None, alias="rate_limit.updated")
    organization_updated: dict[str, Any] | None = Field(None, alias="organization.updated")

    @classmethod
    def of(cls, entry_hash: str, entry: Mapping[str, Any]) -> Self:
        """Return the event of an entry of the log, given as the JSON that was hashed."""
        body: Mapping[str, Any] = entry["body"]
        caused_by, project_id = body.get("actor"), body.get("project_id")
        if project_id is None and body.get("scope") == "project":
            project_id = body.get("scope_id")
        name, subject = subject_of(entry["kind"], entry["tenant_id"], body)
        shape = {
            "id": entry_hash,
            "type": name,
            "kind": entry["kind"],
            "effective_at": int(datetime.fromisoformat(entry["occurred_at"]).timestamp()),
            "actor": None,
            "project": {"id": project_id, "name": project_id} if project_id else None,
            "details": body,
            name: subject,
        }
        if caused_by:
            acted = {"id": caused_by["credential_id"]}
            shape["actor"] = {"api_key": {**acted, "service_account": acted}}
        return cls.model_validate(shape)


class TrailPage(BaseModel):
    """A tenant's own events, the newest first. `freshness` says whether some of them are not in the log yet."""

    object: Literal["list"] = "list"
    data: list[TrailEntry]
    first_id: str | None
    last_id: str | None
    has_more: bool
    freshness: LogFreshnessView


def canonical_entry(
    *, seq: int, occurred_at: datetime, kind: str, tenant_id: str | None, body: Mapping[str, Any]
) -> bytes:
    """Return the entry as canonical JSON (RFC 8785); raise ValueError for non-finite or too large numbers."""
    return rfc8785.dumps(
        {
            "seq": seq,
            "occurred_at": written_time(occurred_at),
            "kind": kind,
            "tenant_id": tenant_id,
            "body": dict(body),
        }
    )


def written_time(moment: datetime) -> str:
    """Return a moment as entries hold it. The length is fixed, so texts sort as moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def chain_hash(previous: bytes, entry: bytes) -> bytes:
    """Return SHA-256 over `previous` and `entry`, 32 bytes."""
    return sha256(previous + entry).digest()


def verify_chain(entries: Iterable[Entry], *, first_seq: int = 0, previous: str = FIRST_PREVIOUS.hex()) -> int | None:
    """Check the hash chain from `first_seq` on; return the first bad entry's number, or None if the chain holds.

    `previous` is the hash of the entry before `first_seq`, 64 hexadecimal digits; by default the check starts at the
    first entry. A cut at the end leaves a valid chain: compare the last entry with a head kept earlier.
    """
    for seq, entry in enumerate(entries, start=first_seq):
        if not (entry.seq == seq and entry.previous == previous and _is_intact(entry)):
            return seq
        previous = entry.hash
    return None


def _is_intact(entry: Entry) -> bool:
    try:
        content = orjson.loads(entry.entry)
        computed = chain_hash(bytes.fromhex(entry.previous), entry.entry.encode()).hex()
    except ValueError:
        return False
    named = (content.get("seq"), content.get("tenant_id")) if isinstance(content, dict) else None
    return computed == entry.hash and named == (entry.seq, entry.tenant_id)
