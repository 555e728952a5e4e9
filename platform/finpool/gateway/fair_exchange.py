"""How several gateways stay fair together at one engine: what each tells, and what it makes of what the others tell.

Without clock, event loop or database: `exchange_service` carries it through Postgres, the bench in virtual time.
"""

from collections.abc import Mapping

from finpool.gateway.fair_shares import FairShares
from finpool.gateway.share_schemas import GatewayShare, Standing
from finpool.gateway.slot_split import SLOT_PARTS, Claim, split_slots
from finpool.kernel.ids import TenantId

OWN = ""
"""How this gateway calls itself in a split; the runs of others have names."""

CATCH_UP_EXCHANGES = 8
"""Who is ahead by what it gets in so many exchanges has its claim to slots halved: slower than turns take to end."""

SMOOTHED_EXCHANGES = 8
EXPRESS_FROM_SLOTS = 3
"""A gateway with fewer slots keeps none of them for newcomers."""


class FairExchange:
    """One gateway's part in sharing one engine.

    The gateways together fill at most the engine's slots: a slot is taken only after another gateway has told that it
    gave it up. While nothing is known of others the engine is this gateway's alone.
    """

    def __init__(self, shares: FairShares, *, gateways: int = 1) -> None:
        self._shares = shares
        self._in_flight_max = shares.in_flight_max
        self._express_max = shares.express_max
        self._known = gateways
        self._base: dict[TenantId, int] = {}
        self._runs: dict[str, dict[TenantId, int]] = {}
        self._new_runs: set[str] = set()
        self._met = False
        self._pace = 0
        self._charged = 0
        self.slots = self._all_slots
        if gateways > 1:
            self._hold_even_part()

    @property
    def _all_slots(self) -> int:
        return self._in_flight_max + self._express_max

    def share(self, slots: int) -> GatewayShare:
        """Return what the others are told: the tenants' standings of this run, and the slots that this gateway takes.

        A tenant that this run has done nothing for is left out.
        """
        tenants = {}
        for tenant_id, each in self._shares.standings().items():
            charged = each.charged - self._base.get(tenant_id, 0)
            if charged or not each.idle:
                tenants[tenant_id] = Standing(charged, each.waiting, each.batch_waiting, each.in_flight)
        return GatewayShare(slots, tenants)

    def meet(self, others: Mapping[str, GatewayShare]) -> int:
        """Take in what every other live run tells; returns the slots that this gateway may hold now.

        Call `hold` with them once the others can know. What a run was charged before this gateway first heard of any
        is past, and not counted.
        """
        growth = self._growth(others)
        elsewhere = _sums(others)
        self._shares.meet(growth, elsewhere)
        self._known = 1 + len(others)
        self._set_pace(growth)
        if not others:
            return self._all_slots
        due = self._due(others)
        free = self._all_slots - sum(each.taken for each in others.values())
        return max(1, min(due, free))

    def hold(self, slots: int) -> None:
        """Fill so many slots from now on. One of them is for newcomers, unless that would leave hardly any other."""
        self.slots = slots
        express = self._express_max if self._known == 1 or slots >= EXPRESS_FROM_SLOTS else 0
        in_flight_max = slots - express
        if (in_flight_max, express) != (self._shares.in_flight_max, self._shares.express_max):
            self._shares.limit(in_flight_max, express)

    def part(self) -> None:
        """Go on alone after too long without word: with no more than an even part, as others may live unheard.

        What this gateway serves from here to the next meeting counts only here; afterwards it is a new run.
        """
        self._shares.meet({}, {})
        self._base = {tenant_id: each.charged for tenant_id, each in self._shares.standings().items()}
        self._runs, self._new_runs, self._met = {}, set(), False
        self._hold_even_part()

    def _hold_even_part(self) -> None:
        self.hold(min(self.slots, max(1, self._all_slots // self._known)))

    def _growth(self, others: Mapping[str, GatewayShare]) -> dict[TenantId, int]:
        growth: dict[TenantId, int] = {}
        for run_id, share in others.items():
            if run_id not in self._runs:
                self._runs[run_id] = {}
                if self._met:
                    self._new_runs.add(run_id)
            charged = self._runs[run_id]
            for tenant_id, standing in share.tenants.items():
                unheard = 0 if run_id in self._new_runs else standing.charged
                grown = standing.charged - charged.get(tenant_id, unheard)
                if grown:
                    growth[tenant_id] = growth.get(tenant_id, 0) + grown
                charged[tenant_id] = standing.charged
        for run_id in self._runs.keys() - others.keys():
            del self._runs[run_id]
            self._new_runs.discard(run_id)
        self._met = True
        return growth

    def _set_pace(self, growth: Mapping[TenantId, int]) -> None:
        """Follow how much all tenants are charged together from one exchange to the next."""
        charged = sum(each.charged for each in self._shares.standings().values())
        grown = charged - self._charged + sum(growth.values())
        self._charged = charged
        self._pace += (grown - self._pace) // SMOOTHED_EXCHANGES if self._pace else grown

    def _due(self, others: Mapping[str, GatewayShare]) -> int:
        tenants = {OWN: self._shares.standings(), **{run_id: each.tenants for run_id, each in others.items()}}
        active = {tenant_id for each in tenants.values() for tenant_id, standing in each.items() if not standing.idle}
        weights, leads = self._shares.weight_parts(sorted(active)), self._shares.leads()
        scale = max(1, CATCH_UP_EXCHANGES * self._pace // max(1, len(active)))
        claims = []
        for tenant_id, weight in weights.items():
            wanted = {
                run_id: each[tenant_id].waiting + each[tenant_id].in_flight
                for run_id, each in tenants.items()
                if tenant_id in each
            }
            claims.append(Claim(max(1, weight * SLOT_PARTS * scale // (scale + leads.get(tenant_id, 0))), wanted))
        batch = {run_id: sum(each.batch_waiting for each in of.values()) for run_id, of in tenants.items()}
        return split_slots(self._all_slots, sorted(tenants), claims, batch)[OWN]


def _sums(others: Mapping[str, GatewayShare]) -> dict[TenantId, Standing]:
    """Return where each tenant that has a request elsewhere stands at all other gateways together."""
    sums: dict[TenantId, Standing] = {}
    for share in others.values():
        for tenant_id, each in share.tenants.items():
            if not each.idle:
                known = sums.get(tenant_id, Standing())
                sums[tenant_id] = Standing(
                    known.charged + each.charged,
                    known.waiting + each.waiting,
                    known.batch_waiting + each.batch_waiting,
                    known.in_flight + each.in_flight,
                )
    return sums
