"""Gateways without engines, and the table through which they exchange: what tests of their fairness play with."""

from collections import Counter, deque
from functools import partial

from finpool.billing.service_share.entitlement import Entitlement
from finpool.gateway.peers.balance import PeerBalance
from finpool.gateway.queue.fair_scheduler import FairScheduler, Waiting
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.kernel.ids import TenantId

A, B, C = TenantId("a"), TenantId("b"), TenantId("c")
ASK = LengthBound(input_tokens_bound=16, output_tokens_bound=64)
SLOTS = 8


class NewRouting(FairScheduler):
    """Remembers what other gateways' service was counted here."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.counted = Counter()

    def meet(self, growth, elsewhere):
        self.counted.update(growth)
        super().meet(growth, elsewhere)


class Gateway:
    """A queue, its part in the exchange, and the turns that are under way."""

    def __init__(self, run, entitled=None, express_max=1, slots=SLOTS):
        options = {} if entitled is None else {"entitled": lambda tenant: entitled.get(tenant, Entitlement())}
        self.run = run
        self.shares = NewRouting(slots - express_max, express_max=express_max, **options)
        self.exchange = PeerBalance(self.shares)
        self.turns = deque()
        self.order = []

    def ask(self, tenant, batch=False):
        waiting = Waiting(ASK, partial(self._begin, tenant), batch=batch)
        self.shares.arrive(tenant, waiting)
        self.shares.dispatch()

    def end(self, output_tokens=1):
        if self.turns:
            self.shares.end(self.turns.popleft(), input_tokens=16, output_tokens=output_tokens)
            self.shares.dispatch()

    def leave(self):
        """End a turn of which the engine did nothing."""
        if self.turns:
            self.shares.end(self.turns.popleft(), input_tokens=0, output_tokens=0)
            self.shares.dispatch()

    def _begin(self, tenant, turn):
        self.turns.append(turn)
        self.order.append(tenant)


class Table:
    """What the gateways told."""

    def __init__(self, *gateways):
        self.gateways = list(gateways)
        self.told = {}

    def exchange(self, gateway):
        told = gateway.exchange.meet({run: each for run, each in self.told.items() if run != gateway.run})
        self.told[gateway.run] = told
        gateway.exchange.hold(told.slots)

    def all_exchange(self, times=1):
        for _ in range(times):
            for gateway in self.gateways:
                self.exchange(gateway)
