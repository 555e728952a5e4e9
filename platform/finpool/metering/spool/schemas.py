"""The contents of a spool: intents of running requests, and records for Postgres."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class Outcome(StrEnum):
    """The outcome of a request. Only `failed` costs nothing: the engine broke, not the caller."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"
    CRASHED = "crashed"


class RecordKind(StrEnum):
    """The kind of a record, which selects the recorder's action."""

    SETTLEMENT = "settlement"
    LEASE_RETURN = "lease_return"


@dataclass(frozen=True, slots=True)
class Intent:
    """A request before its dispatch: its payer, its leases, and its pinned price in picos per token.

    `operation` is the billed operation (`finpool.serving.schemas.Operation`), None in an older spool.
    """

    request_id: str
    tenant_id: str
    project_id: str
    key_id: str
    model_id: str
    weights_sha256: str
    price_version: str
    currency: str
    input_picos: int
    cached_input_picos: int
    output_picos: int
    policy_version: int
    lease_ids: tuple[str, ...]
    streamed: bool
    started_at: str
    tier: str = "standard"
    operation: str | None = None

    @property
    def counted_at(self) -> str:
        """The moment that decides the day and month of the request everywhere: its admission."""
        return self.started_at

    def cost_picos(self, input_tokens: int, cached_input_tokens: int, output_tokens: int) -> int:
        """Return the exact cost in picos at the pinned price; cached tokens are a part of the input."""
        fresh = input_tokens - cached_input_tokens
        return (
            fresh * self.input_picos + cached_input_tokens * self.cached_input_picos + output_tokens * self.output_picos
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome and usage of a request, as the engine reported it.

    `queue_ms` is its time in the fair queue, None if unknown, as after a crash.
    """

    intent: Intent
    outcome: Outcome
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    estimated: bool
    settled_at: str
    queue_ms: int | None = None

    @property
    def cost_picos(self) -> int:
        """The cost of the request in picos; 0 if the engine failed."""
        if self.outcome is Outcome.FAILED:
            return 0
        return self.intent.cost_picos(self.input_tokens, self.cached_input_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True)
class LeaseReturn:
    """A lease without reservations; every settlement that it paid for precedes this record."""

    tenant_id: str
    lease_id: str


def encode(item: Intent | Settlement | LeaseReturn) -> bytes:
    """Return the record as JSON bytes."""
    return orjson.dumps(item)


def decode_intent(body: bytes) -> Intent:
    """Decode an intent; raise ValueError, LookupError or TypeError for an invalid one."""
    return _intent(orjson.loads(body))


def decode_settlement(body: bytes) -> Settlement:
    """Decode a settlement; raise as `decode_intent` does."""
    fields: dict[str, Any] = orjson.loads(body)
    return Settlement(
        **{**fields, "intent": _intent(fields["intent"]), "outcome": Outcome(fields["outcome"])},
    )


def decode_lease_return(body: bytes) -> LeaseReturn:
    """Decode a lease return; raise as `decode_intent` does."""
    return LeaseReturn(**orjson.loads(body))


def _intent(fields: dict[str, Any]) -> Intent:
    if "lease_id" in fields:  # Older intents name a single lease.
        fields["lease_ids"] = [fields.pop("lease_id")]
    return Intent(**{**fields, "lease_ids": tuple(fields["lease_ids"])})
