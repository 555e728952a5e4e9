"""The fair scheduler: a weighted Virtual Token Counter with prediction and refund, without clock or event loop.

After "Fairness in Serving Large Language Models" (OSDI 2024). Each tenant has a counter of its service over its weight;
the tenant with the smallest counter gets the next turn. A turn is charged its predicted cost at its start, and any
excess as it occurs. At its end an unused prediction is refunded. A tenant that returns after a pause is lifted to the
others' level, so that it cannot save up a claim.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from finpool.billing.service_share.entitlement import EQUAL, WEIGHT_PARTS, Entitlement, weight_parts
from finpool.catalogue.model.prefill_bound import PrefillBound
from finpool.catalogue.model.schemas import service_of
from finpool.gateway.queue.length_prediction import Lengths
from finpool.gateway.queue.prefill import StepPrompts
from finpool.gateway.queue.standing import Standing
from finpool.gateway.queue.turn import SERVICE_PARTS, QueuedTenant, Turn, Waiting
from finpool.kernel.ids import TenantId

BATCH_EVERY = 20
"""Of this many turns during interactive waits one is a batch turn, so that batch requests do not starve."""


class FairScheduler:
    """The order of one engine's requests.

    At most `in_flight_max` turns run, and `express_max` more for tenants without a running turn. Their first token then
    does not wait for another tenant's last one. The prompts of the turns are bounded in the same way (`StepPrompts`).
    """

    def __init__(
        self,
        in_flight_max: int,
        *,
        express_max: int = 0,
        prefill_bound: PrefillBound | None = None,
        entitled: Callable[[TenantId], Entitlement] = lambda _: EQUAL,
        predicts: bool = True,
    ) -> None:
        self.in_flight_max = in_flight_max
        self.express_max = express_max
        self.in_flight = 0
        self._prefill = StepPrompts(prefill_bound, in_flight_max)
        self._entitled = entitled
        self._predicts = predicts
        self._tenants: dict[TenantId, QueuedTenant] = {}
        self._turns = 0
        self._waiting: tuple[dict[TenantId, QueuedTenant], dict[TenantId, QueuedTenant]] = ({}, {})
        self._elsewhere: dict[TenantId, QueuedTenant] = {}
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
            self._begin(*chosen)

    def limit(self, in_flight_max: int, express_max: int) -> None:
        """Set the numbers of running turns; turns above them run to their end."""
        self.in_flight_max = in_flight_max
        self.express_max = express_max
        self._prefill.limit(in_flight_max)
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
        if turn.prefill_tokens and output_tokens and turn.length_bound.prompts == 1:
            self._prefill.end(turn)
            self.dispatch()

    def end(self, turn: Turn, *, input_tokens: int, output_tokens: int) -> None:
        """End a turn at its real cost; an unused prediction is refunded."""
        turn.settle_at(service_of(input_tokens, output_tokens))
        self._prefill.end(turn)
        turn.tenant.in_flight -= 1
        self.in_flight -= 1
        if input_tokens or output_tokens:
            for lengths in (turn.tenant.lengths, self._overall):
                lengths.learn(turn.length_bound, input_tokens, output_tokens)

    def _tenant(self, tenant_id: TenantId) -> QueuedTenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            tenant = self._tenants[tenant_id] = QueuedTenant(tenant_id)
        return tenant

    def _competing(self) -> dict[TenantId, QueuedTenant]:
        return {**self._elsewhere, **self._waiting[False], **self._waiting[True]}

    def _lift(self, tenant: QueuedTenant, competing: Mapping[TenantId, QueuedTenant]) -> None:
        others = [each.counter for each in competing.values() if each is not tenant]
        tenant.counter = max(tenant.counter, min(others) if others else self._last_departed)

    def _choose(self) -> tuple[QueuedTenant, bool, bool] | None:
        """Return the tenant of the next turn, whether it is a batch turn, and whether its prompt is a newcomer's.

        Return None if no turn can start. No prompt passes the one that is next and does not fit, except a newcomer's.
        """
        interactive, batch = self._waiting
        if self.in_flight < self.in_flight_max:
            if not interactive and not batch:
                return None
            is_batch = bool(batch) and (not interactive or self._since_batch >= BATCH_EVERY - 1)
            tenant = _smallest((batch if is_batch else interactive).values())
            if self._prefill.fits(self._prompt(tenant, is_batch), express=False):
                return tenant, is_batch, False
            newcomers = [] if is_batch else self._newcomers(tenant)
            return self._newcomer(newcomers or self._idle(), (True,))
        if self.in_flight < self.in_flight_max + self.express_max:
            return self._newcomer(self._idle(), (True, False))
        return None

    def _newcomers(self, blocked: QueuedTenant) -> list[QueuedTenant]:
        """Return the tenants without a prompt in the step that would be served less than `blocked` after its turn.

        So a tenant passes a long prompt, and by no more than that prompt's charge.
        """
        cost = self._expected_cost(blocked, batch=False)
        least = blocked.counter + cost * WEIGHT_PARTS * SERVICE_PARTS // self._weight_of(blocked)
        return [each for each in self._waiting[False].values() if not each.prompts and each.counter <= least]

    def _idle(self) -> list[QueuedTenant]:
        """Return the tenants that wait and have no running turn anywhere."""
        served = self._served_elsewhere
        return [each for each in self._waiting[False].values() if not each.in_flight and each.id not in served]

    def _newcomer(
        self, tenants: Sequence[QueuedTenant], halves: tuple[bool, ...]
    ) -> tuple[QueuedTenant, bool, bool] | None:
        """Return the least served of these tenants, if its prompt fits into one of the `halves` of a step."""
        if tenants:
            tenant = _smallest(tenants)
            for express in halves:
                if self._prefill.fits(self._prompt(tenant, batch=False), express=express):
                    return tenant, False, express
        return None

    def _prompt(self, tenant: QueuedTenant, batch: bool) -> int:
        """Return the expected prompt tokens of the tenant's next request."""
        return tenant.lengths.expected_input(tenant.queue(batch)[0].length_bound, self._overall)

    def _begin(self, tenant: QueuedTenant, batch: bool, express: bool) -> None:
        prompt_tokens = self._prompt(tenant, batch)
        weight_parts = self._weight_of(tenant)
        expected = self._expected_cost(tenant, batch)
        queue = tenant.queue(batch)
        waiting = queue.popleft()
        if not queue:
            del self._waiting[batch][tenant.id]
        self._last_departed = tenant.counter
        self._turns += 1
        tenant.last_turn = self._turns
        self._since_batch = 0 if batch else self._since_batch + bool(self._waiting[True])
        turn = Turn(tenant, waiting.length_bound, expected, weight_parts)
        turn.settle_at(expected)
        self._prefill.begin(turn, prompt_tokens, express=express)
        tenant.in_flight += 1
        self.in_flight += 1
        waiting.began(turn)

    def _expected_cost(self, tenant: QueuedTenant, batch: bool) -> int:
        """Return the expected cost of the tenant's next request."""
        bound = tenant.queue(batch)[0].length_bound
        return tenant.lengths.expected_cost(bound, self._overall) if self._predicts else bound.input_cost

    def _weight_of(self, tenant: QueuedTenant) -> int:
        """Return the weight in thousandths that divides the charge of a turn starting now."""
        active = {tenant.id: tenant, **self._elsewhere, **self._waiting[False], **self._waiting[True]}
        if len(active) == 1:
            return self._entitled(tenant.id).weight * WEIGHT_PARTS
        return self.weight_parts(active)[tenant.id]


def _smallest(tenants: Iterable[QueuedTenant]) -> QueuedTenant:
    """Return the least served tenant; of equal ones the one with the oldest last turn."""
    return min(tenants, key=lambda tenant: (tenant.counter, tenant.last_turn))
