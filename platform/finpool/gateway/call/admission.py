"""An admitted request: the bounds of its use, and its intent."""

from dataclasses import dataclass, replace
from typing import Any

from finpool.billing.contract.schemas import Quote
from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.price.schemas import Tier
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import LeaseId, RequestId
from finpool.metering.spool.schemas import Intent
from finpool.quota.schemas import Subject
from finpool.serving.schemas import Operation


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that policy allows, at a pinned price, with bounds of its tokens.

    `load_ms` is the measured load time of the version, or None.
    """

    operation: Operation
    request_id: RequestId
    actor: Actor
    model: Model
    quote: Quote
    policy_version: int
    streamed: bool
    engine_body: dict[str, Any]
    input_tokens_bound: int
    output_tokens_bound: int
    load_ms: int | None = None

    @property
    def bound(self) -> TokenUsage:
        """The largest use of the request."""
        return TokenUsage(self.input_tokens_bound, 0, self.output_tokens_bound)

    @property
    def amount_picos(self) -> int:
        """The largest cost of the request in picos."""
        return self.quote.cost(self.bound)

    @property
    def tokens(self) -> int:
        """The largest number of tokens of the request."""
        return self.input_tokens_bound + self.output_tokens_bound

    def with_input_tokens(self, input_tokens: int) -> "Admitted":
        """Return the request with its exact prompt tokens; each choice is computed from the whole prompt."""
        choices = self.engine_body.get("n") or 1
        return replace(self, input_tokens_bound=input_tokens * choices)

    @property
    def length_bound(self) -> LengthBound:
        """The bounds of the request, for the fair queue."""
        prompts = len(self.engine_body["prompt"]) if self.operation is Operation.COMPLETE else 1
        choices = self.engine_body.get("n") or 1
        return LengthBound(self.input_tokens_bound, self.output_tokens_bound, choices, prompts)

    @property
    def batch(self) -> bool:
        """Whether it is a batch request, which waits until no interactive one does."""
        return self.quote.tier is Tier.BATCH

    @property
    def subject(self) -> Subject:
        """The subject of the request's limits."""
        return Subject(self.actor.tenant, self.actor.project, self.actor.key_id, self.model.id)

    def intent(self, lease_ids: tuple[LeaseId, ...]) -> Intent:
        """Return the intent: payer, leases, and the price of the admission."""
        model, quote = self.model, self.quote
        return Intent(
            request_id=self.request_id,
            tenant_id=self.actor.tenant,
            project_id=self.actor.project,
            key_id=self.actor.key_id,
            model_id=model.id,
            weights_sha256=model.weights_sha256,
            price_version=quote.price_version,
            currency=quote.currency,
            input_picos=quote.input_picos,
            cached_input_picos=quote.cached_input_picos,
            output_picos=quote.output_picos,
            policy_version=self.policy_version,
            lease_ids=lease_ids,
            streamed=self.streamed,
            started_at=now().isoformat(),
            tier=quote.tier.value,
            operation=self.operation.value,
        )
