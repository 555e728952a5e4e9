"""What the spool holds: intents of requests under way, and records on their way to Postgres."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class Outcome(StrEnum):
    """How a request ended. Only `failed` costs nothing: the engine broke, not the caller."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"
    CRASHED = "crashed"


class RecordKind(StrEnum):
    """What the recorder does with a record."""

    SETTLEMENT = "settlement"
    LEASE_RETURN = "lease_return"


@dataclass(frozen=True, slots=True)
class Intent:
    """A request about to be dispatched: who pays, out of which leases, and at which pinned price (picos per token)."""

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

    def cost_picos(self, input_tokens: int, cached_input_tokens: int, output_tokens: int) -> int:
        """Return the exact cost at the pinned price; cached tokens are a part of the input."""
        fresh = input_tokens - cached_input_tokens
        return (
            fresh * self.input_picos + cached_input_tokens * self.cached_input_picos + output_tokens * self.output_picos
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a request ended and what it used, as the engine reported it.

    `queue_ms` is how long it waited for its turn; None where nobody knows, as after a crash.
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
        """What the request costs: nothing if the engine failed."""
        if self.outcome is Outcome.FAILED:
            return 0
        return self.intent.cost_picos(self.input_tokens, self.cached_input_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True)
class LeaseReturn:
    """A lease that holds no reservation any more; every settlement paid out of it is ahead of this record."""

    tenant_id: str
    lease_id: str


def encode(item: Intent | Settlement | LeaseReturn) -> bytes:
    """Return the record's bytes."""
    return orjson.dumps(item)


def decode_intent(body: bytes) -> Intent:
    """Read an intent."""
    return _intent(orjson.loads(body))


def decode_settlement(body: bytes) -> Settlement:
    """Read a settlement."""
    fields: dict[str, Any] = orjson.loads(body)
    return Settlement(
        **{**fields, "intent": _intent(fields["intent"]), "outcome": Outcome(fields["outcome"])},
    )


def decode_lease_return(body: bytes) -> LeaseReturn:
    """Read the return of a lease."""
    return LeaseReturn(**orjson.loads(body))


def _intent(fields: dict[str, Any]) -> Intent:
    if "lease_id" in fields:  # Written before a request could be paid out of several leases.
        fields["lease_ids"] = [fields.pop("lease_id")]
    return Intent(**{**fields, "lease_ids": tuple(fields["lease_ids"])})
