"""A tenant's requests before one engine: those that wait, and those that have a turn."""

from collections import deque
from collections.abc import Callable

from finpool.billing.service_share.entitlement import WEIGHT_PARTS
from finpool.gateway.queue.length_prediction import LengthBound, Lengths
from finpool.kernel.ids import TenantId

SERVICE_PARTS = 1_000_000


class Turn:
    """A running request at an engine, with the service charged to its tenant.

    `prefill_tokens` are the tokens of its prompt in a step of the engine, until the prompt is computed. `express` is
    whether they are a newcomer's, and `long` whether the prompt takes more than a whole step.
    """

    __slots__ = (
        "began_seconds",
        "charged",
        "expected_cost",
        "express",
        "length_bound",
        "long",
        "prefill_tokens",
        "queue_ms",
        "tenant",
        "weight_parts",
    )

    def __init__(
        self, tenant: "QueuedTenant", length_bound: LengthBound, expected_cost: int, weight_parts: int
    ) -> None:
        self.tenant = tenant
        self.length_bound = length_bound
        self.expected_cost = expected_cost
        self.weight_parts = weight_parts
        self.charged = 0
        self.began_seconds = 0.0
        self.queue_ms = 0
        self.prefill_tokens = 0
        self.express = self.long = False

    def settle_at(self, cost: int) -> None:
        """Set the turn's charge to `cost`; exact for any number of calls."""
        charge = cost * WEIGHT_PARTS * SERVICE_PARTS // self.weight_parts
        growth = charge - self.charged
        self.tenant.counter += growth
        self.tenant.charged += growth
        self.charged = charge


class Waiting:
    """A queued request. `began` is called with its turn when the turn begins."""

    __slots__ = ("batch", "began", "length_bound")

    def __init__(self, length_bound: LengthBound, began: Callable[[Turn], None], *, batch: bool) -> None:
        self.length_bound = length_bound
        self.began = began
        self.batch = batch


class QueuedTenant:
    """A tenant's queues before one engine, and its counters."""

    __slots__ = ("batch", "charged", "counter", "id", "in_flight", "interactive", "last_turn", "lengths", "prompts")

    def __init__(self, tenant_id: TenantId) -> None:
        self.id = tenant_id
        self.counter = 0
        self.charged = 0
        self.in_flight = 0
        self.last_turn = 0
        self.prompts = 0
        """Its prompts that the engine is computing."""
        self.interactive: deque[Waiting] = deque()
        self.batch: deque[Waiting] = deque()
        self.lengths = Lengths()

    def queue(self, batch: bool) -> deque[Waiting]:
        """Return its interactive or its batch requests."""
        return self.batch if batch else self.interactive
