"""The peer balance: it keeps several gateways fair together at one engine, from the standings that they report.

It needs no clock, event loop or database: `PeerSync` runs it over Postgres, the bench runs it in virtual time.
"""

from collections.abc import Iterable, Mapping, Set

from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.peers.slot_split import SLOT_PARTS, Claim, split_slots
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.standing import Standing
from finpool.kernel.ids import TenantId

OWN = ""
"""The name of this gateway in a split; other runs have ids."""

CATCH_UP_SYNCS = 8
"""Halve a tenant's slot claim once it leads by its average service in 8 syncs; most turns end within them."""

SMOOTHED_SYNCS = 8
STEADY_PART = 16
"""Keep the slots if they would shrink by less than this part: a moved slot is idle for one sync, the express slot
first.
"""

EXPRESS_FROM_SLOTS = 3
"""A gateway with fewer slots has no express slot."""


class PeerBalance:
    """One gateway's part of one engine's slots.

    All gateways together fill at most the engine's slots: a gateway takes a slot only after another has reported that
    it gave it up. Without other gateways it fills the whole engine.
    """

    def __init__(self, scheduler: FairScheduler, *, gateways: int = 1) -> None:
        self._scheduler = scheduler
        self._in_flight_max = scheduler.in_flight_max
        self._express_max = scheduler.express_max
        self._known = gateways
        self._base: dict[TenantId, int] = {}
        self._reported: Set[TenantId] = set()
        self._runs: dict[str, dict[TenantId, int]] = {}
        self._pace = 0
        self._charged = 0
        self.met = False
        self.slots = self._all_slots
        if gateways > 1:
            self.hold(self._even_part)

    @property
    def _all_slots(self) -> int:
        return self._in_flight_max + self._express_max

    def meet(self, others: Mapping[str, GatewayStanding]) -> GatewayStanding:
        """Apply the standings of all other live runs; return this run's standing, with the slots to `hold`.

        Call `hold` once the others can read it. At the first sync the others' charges count as past; at later ones
        unchanged idle tenants may be left out. The result leaves out tenants that this run has never served.
        """
        known = 1 + len(others)
        # At the first sync after a separation the others may not have returned yet.
        self._known = known if self.met else max(known, self._known)
        growth = self._growth(others)
        self._scheduler.meet(growth, _sums(others))
        own = self._scheduler.standings()
        self._set_pace(own, growth)
        slots = self._all_slots if self._known == known else self._even_part
        if others:
            due = self._due({OWN: own, **{run_id: each.tenants for run_id, each in others.items()}})
            if self.slots - self.slots // STEADY_PART <= due < self.slots:
                due = self.slots
            slots = max(1, min(due, slots, self._all_slots - sum(each.taken for each in others.values())))
        return GatewayStanding(slots, self._of_this_run(own))

    def hold(self, slots: int) -> None:
        """Fill this many slots from now on. One of them is the express slot, if there are enough."""
        self.slots = slots
        express = self._express_max if self._known == 1 or slots >= EXPRESS_FROM_SLOTS else 0
        in_flight_max = slots - express
        if (in_flight_max, express) != (self._scheduler.in_flight_max, self._scheduler.express_max):
            self._scheduler.limit(in_flight_max, express)

    def separate(self) -> None:
        """Continue alone after too long without a sync, with at most an even part, because others may still run.

        Charges from here to the next sync count only in this gateway; afterwards it is a new run.
        """
        self._scheduler.meet({}, {})
        self._base = {tenant_id: each.charged for tenant_id, each in self._scheduler.standings().items()}
        self._reported, self._runs, self.met = set(), {}, False
        self.hold(min(self.slots, self._even_part))

    @property
    def _even_part(self) -> int:
        return max(1, self._all_slots // self._known)

    def _growth(self, others: Mapping[str, GatewayStanding]) -> dict[TenantId, int]:
        growth: dict[TenantId, int] = {}
        for run_id, standing in others.items():
            charged = self._runs.setdefault(run_id, {})
            for tenant_id, of_tenant in standing.tenants.items():
                grown = of_tenant.charged - charged.get(tenant_id, 0 if self.met else of_tenant.charged)
                if grown:
                    growth[tenant_id] = growth.get(tenant_id, 0) + grown
                charged[tenant_id] = of_tenant.charged
        for run_id in self._runs.keys() - others.keys():
            del self._runs[run_id]
        self.met = True
        return growth

    def _of_this_run(self, own: Mapping[TenantId, Standing]) -> dict[TenantId, Standing]:
        reported = {}
        for tenant_id, each in own.items():
            charged = each.charged - self._base.get(tenant_id, 0)
            if charged or not each.idle or tenant_id in self._reported:
                reported[tenant_id] = Standing(charged, each.waiting, each.batch_waiting, each.in_flight)
        self._reported = reported.keys()
        return reported

    def _set_pace(self, own: Mapping[TenantId, Standing], growth: Mapping[TenantId, int]) -> None:
        """Update the moving average of the charges of all tenants per sync."""
        charged = sum(each.charged for each in own.values())
        grown = charged - self._charged + sum(growth.values())
        self._charged = charged
        self._pace += (grown - self._pace) // SMOOTHED_SYNCS if self._pace else grown

    def _due(self, standings: Mapping[str, Mapping[TenantId, Standing]]) -> int:
        """Return this gateway's part of the slots; every gateway computes the same split."""
        wanted: dict[TenantId, dict[str, int]] = {}
        waiting: set[TenantId] = set()
        for run_id, tenants in standings.items():
            for tenant_id, each in tenants.items():
                if each.waiting or each.in_flight:
                    wanted.setdefault(tenant_id, {})[run_id] = each.waiting + each.in_flight
                if each.waiting:
                    waiting.add(tenant_id)
        leads = self._leads(wanted, waiting)
        scale = max(1, CATCH_UP_SYNCS * self._pace // max(1, len(wanted)))
        claims = [
            Claim(max(1, weight * SLOT_PARTS * scale // (scale + leads[tenant_id])), wanted[tenant_id])
            for tenant_id, weight in self._scheduler.weight_parts(sorted(wanted)).items()
        ]
        batch = {run_id: sum(each.batch_waiting for each in of.values()) for run_id, of in standings.items()}
        return split_slots(self._all_slots, sorted(standings), claims, batch)[OWN]

    def _leads(self, tenants: Iterable[TenantId], waiting: Iterable[TenantId]) -> dict[TenantId, int]:
        """Return each tenant's lead over the least served waiting tenant."""
        least = min((self._scheduler.counter(each) for each in waiting), default=0)
        return {each: max(0, self._scheduler.counter(each) - least) for each in tenants}


def _sums(others: Mapping[str, GatewayStanding]) -> dict[TenantId, Standing]:
    """Return the sum of each tenant's standings at all other gateways, without idle tenants."""
    sums: dict[TenantId, Standing] = {}
    for standing in others.values():
        for tenant_id, each in standing.tenants.items():
            if not each.idle:
                known = sums.get(tenant_id, Standing())
                sums[tenant_id] = Standing(
                    known.charged + each.charged,
                    known.waiting + each.waiting,
                    known.batch_waiting + each.batch_waiting,
                    known.in_flight + each.in_flight,
                )
    return sums
