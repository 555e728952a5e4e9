"""The fair scheduler: a weighted Virtual Token Counter with prediction and refund, without clock or event loop.

After "Fairness in Serving Large Language Models" (OSDI 2024). Each tenant has a counter of its service over its weight;
the tenant with the smallest counter gets the next turn. A turn is charged its predicted cost at its start, and any
excess as it occurs. At its end an unused prediction is refunded. A tenant that returns after a pause is lifted to the
others' level, so that it cannot save up a claim.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from finpool.billing.service_share.entitlement import EQUAL, WEIGHT_PARTS, Entitlement, weight_parts
from finpool.catalogue.model.schemas import service_of
from finpool.gateway.queue.length_prediction import LengthBound, Lengths
from finpool.gateway.queue.standing import Standing
from finpool.kernel.ids import TenantId

BATCH_EVERY = 20
"""Of this many turns during interactive waits one is a batch turn, so that batch requests do not starve."""

_SERVICE_PARTS = 1_000_000


class Turn:
    """A running request at an engine, with the service charged to its tenant."""

    __slots__ = ("began_seconds", "charged", "expected_cost", "length_bound", "queue_ms", "tenant", "weight_parts")

    def __init__(self, tenant: "_Tenant", length_bound: LengthBound, expected_cost: int, weight_parts: int) -> None:
        self.tenant = tenant
        self.length_bound = length_bound
        self.expected_cost = expected_cost
        self.weight_parts = weight_parts
        self.charged = 0
        self.began_seconds = 0.0
        self.queue_ms = 0

    def settle_at(self, cost: int) -> None:
        """Set the turn's charge to `cost`; exact for any number of calls."""
        charge = cost * WEIGHT_PARTS * _SERVICE_PARTS // self.weight_parts
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


class _Tenant:
    __slots__ = ("batch", "charged", "counter", "id", "in_flight", "interactive", "last_turn", "lengths")

    def __init__(self, tenant_id: TenantId) -> None:
        self.id = tenant_id
        self.counter = 0
        self.charged = 0
        self.in_flight = 0
        self.last_turn = 0
        self.interactive: deque[Waiting] = deque()
        self.batch: deque[Waiting] = deque()
        self.lengths = Lengths()

    def queue(self, batch: bool) -> deque[Waiting]:
        return self.batch if batch else self.interactive


class FairScheduler:
    """The order of one engine's requests.

    At most `in_flight_max` turns run, and `express_max` more for tenants without a running turn. Their first token then
    does not wait for another tenant's last one.
    """

    def __init__(
        self,
        in_flight_max: int,
        *,
        express_max: int = 0,
        entitled: Callable[[TenantId], Entitlement] = lambda _: EQUAL,
        predicts: bool = True,
    ) -> None:
        self.in_flight_max = in_flight_max
        self.express_max = express_max
        self.in_flight = 0
        self._entitled = entitled
        self._predicts = predicts
        self._tenants: dict[TenantId, _Tenant] = {}
        self._turns = 0
        self._waiting: tuple[dict[TenantId, _Tenant], dict[TenantId, _Tenant]] = ({}, {})
        self._elsewhere: dict[TenantId, _Tenant] = {}
        self._served_elsewhere: set[TenantId] = set()
        self._overall = Lengths()
        self._last_departed = 0
        self._since_batch = 0

    def waiting(self, tenant_id: TenantId) -> int:
        """Return the number of a tenant's waiting requests."""
        tenant = self._tenants.get(tenant_id)
        return 0 if tenant is None else len(tenant.interactive) + len(tenant.batch)

    def entitled_share(self, tenant_id: TenantId) -> float:
        """Return a tenant's entitled share of the service among the tenants that wait or run now, itself included."""
        active = {each.id: each for each in self._tenants.values() if each.in_flight or each.interactive or each.batch}
        active.setdefault(tenant_id, self._tenant(tenant_id))
        weights = self.weight_parts({**active, **self._elsewhere})
        return weights[tenant_id] / sum(weights[each] for each in active)

    def weight_parts(self, tenants: Iterable[TenantId]) -> dict[TenantId, int]:
        """Return the competitors' weights in thousandths."""
        return weight_parts({each: self._entitled(each) for each in tenants})

    def arrive(self, tenant_id: TenantId, waiting: Waiting) -> None:
        """Queue a request; `dispatch` starts its turn."""
        tenant = self._tenant(tenant_id)
        if not tenant.interactive and not tenant.batch and tenant_id not in self._elsewhere:
            self._lift(tenant, self._competing())
        tenant.queue(waiting.batch).append(waiting)
        self._waiting[waiting.batch][tenant_id] = tenant

    def withdraw(self, tenant_id: TenantId, waiting: Waiting) -> bool:
        """Remove a request from the queue; return False if its turn has begun."""
        queue = self._tenants[tenant_id].queue(waiting.batch)
        if waiting not in queue:
            return False
        queue.remove(waiting)
        if not queue:
            del self._waiting[waiting.batch][tenant_id]
        return True

    def dispatch(self) -> None:
        """Start every turn that can start now."""
        while (chosen := self._choose()) is not None:
            tenant, batch = chosen
            self._begin(tenant, batch)

    def limit(self, in_flight_max: int, express_max: int) -> None:
        """Set the numbers of running turns; turns above them run to their end."""
        self.in_flight_max = in_flight_max
        self.express_max = express_max
        self.dispatch()

    def standings(self) -> dict[TenantId, Standing]:
        """Return each tenant's standing here."""
        return {
            each.id: Standing(each.charged, len(each.interactive), len(each.batch), each.in_flight)
            for each in self._tenants.values()
        }

    def meet(self, growth: Mapping[TenantId, int], elsewhere: Mapping[TenantId, Standing]) -> None:
        """Apply the other gateways' reports: `growth` are new charges there, `elsewhere` the standings there.

        Charges there count as charges here, and requests waiting there compete here. A tenant that begins to wait
        anywhere is lifted, but only after its charges are counted.
        """
        competing = self._competing()
        for tenant_id, charge in growth.items():
            self._tenant(tenant_id).counter += charge
        served = [self._tenant(tenant_id).counter for tenant_id, charge in growth.items() if charge > 0]
        if served:
            self._last_departed = max(self._last_departed, min(served))
        waiting = {tenant_id: self._tenant(tenant_id) for tenant_id, each in elsewhere.items() if each.waits}
        for tenant_id in waiting.keys() - competing.keys():
            self._lift(waiting[tenant_id], competing)
        self._elsewhere = waiting
        self._served_elsewhere = {tenant_id for tenant_id, each in elsewhere.items() if each.in_flight}

    def counter(self, tenant_id: TenantId) -> int:
        """Return the counter that orders the turns: the tenant's charges at all gateways plus its lifts."""
        return self._tenant(tenant_id).counter

    def use(self, turn: Turn, *, input_tokens: int, output_tokens: int) -> None:
        """Charge a turn for its use so far, in total, if that exceeds the prediction."""
        turn.settle_at(max(service_of(input_tokens, output_tokens), turn.expected_cost))

    def end(self, turn: Turn, *, input_tokens: int, output_tokens: int) -> None:
        """End a turn at its real cost; an unused prediction is refunded."""
        turn.settle_at(service_of(input_tokens, output_tokens))
        turn.tenant.in_flight -= 1
        self.in_flight -= 1
        if input_tokens or output_tokens:
            for lengths in (turn.tenant.lengths, self._overall):
                lengths.learn(turn.length_bound, input_tokens, output_tokens)

    def _tenant(self, tenant_id: TenantId) -> _Tenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            tenant = self._tenants[tenant_id] = _Tenant(tenant_id)
        return tenant

    def _competing(self) -> dict[TenantId, _Tenant]:
        return {**self._elsewhere, **self._waiting[False], **self._waiting[True]}

    def _lift(self, tenant: _Tenant, competing: Mapping[TenantId, _Tenant]) -> None:
        others = [each.counter for each in competing.values() if each is not tenant]
        tenant.counter = max(tenant.counter, min(others) if others else self._last_departed)

    def _choose(self) -> tuple[_Tenant, bool] | None:
        """Return the tenant of the next turn and whether it is a batch turn, or None if no turn can start."""
        interactive, batch = self._waiting
        if self.in_flight < self.in_flight_max:
            batch_is_due = not interactive or self._since_batch >= BATCH_EVERY - 1
            if batch and batch_is_due:
                return _smallest(batch.values()), True
            return (_smallest(interactive.values()), False) if interactive else None
        if self.in_flight < self.in_flight_max + self.express_max:
            served = self._served_elsewhere
            idle = [each for each in interactive.values() if not each.in_flight and each.id not in served]
            return (_smallest(idle), False) if idle else None
        return None

    def _begin(self, tenant: _Tenant, batch: bool) -> None:
        weight_parts = self._weight_of(tenant)
        queue = tenant.queue(batch)
        waiting = queue.popleft()
        if not queue:
            del self._waiting[batch][tenant.id]
        self._last_departed = tenant.counter
        self._turns += 1
        tenant.last_turn = self._turns
        self._since_batch = 0 if batch else self._since_batch + bool(self._waiting[True])
        expected = (
            tenant.lengths.expected_cost(waiting.length_bound, self._overall)
            if self._predicts
            else waiting.length_bound.input_cost
        )
        turn = Turn(tenant, waiting.length_bound, expected, weight_parts)
        turn.settle_at(expected)
        tenant.in_flight += 1
        self.in_flight += 1
        waiting.began(turn)

    def _weight_of(self, tenant: _Tenant) -> int:
        """Return the weight in thousandths that divides the charge of a turn starting now."""
        active = {tenant.id: tenant, **self._elsewhere, **self._waiting[False], **self._waiting[True]}
        if len(active) == 1:
            return self._entitled(tenant.id).weight * WEIGHT_PARTS
        return self.weight_parts(active)[tenant.id]


def _smallest(tenants: Iterable[_Tenant]) -> _Tenant:
    """Return the least served tenant; of equal ones the one with the oldest last turn."""
    return min(tenants, key=lambda tenant: (tenant.counter, tenant.last_turn))
