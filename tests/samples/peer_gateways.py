"""Gateways without engines, and the table through which they sync: what tests of their fairness play with.

The sector of these tests has three banks of equal weight, and an engine with `SLOTS` slots that all gateways share.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial

from finpool.billing.service_share.entitlement import EQUAL, Entitlement
from finpool.gateway.peers.balance import PeerBalance
from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.standing import Standing
from finpool.gateway.queue.turn import Turn, Waiting
from finpool.kernel.ids import TenantId

HARBOUR, LOTUS, PINE = TenantId("bank-harbour"), TenantId("bank-lotus"), TenantId("bank-pine")
BANKS = (HARBOUR, LOTUS, PINE)
SLOTS = 8
INPUT_TOKENS = 16
LENGTH_BOUND = LengthBound(input_tokens_bound=INPUT_TOKENS, output_tokens_bound=64)


class RememberingScheduler(FairScheduler):
    """Remembers what other gateways' service was counted here."""

    def __init__(self, in_flight_max: int, express_max: int, entitled: Callable[[TenantId], Entitlement]) -> None:
        super().__init__(in_flight_max, express_max=express_max, entitled=entitled)
        self.counted: Counter[TenantId] = Counter()

    def meet(self, growth: Mapping[TenantId, int], elsewhere: Mapping[TenantId, Standing]) -> None:
        """Count the growth, and take it in."""
        self.counted.update(growth)
        super().meet(growth, elsewhere)


class Gateway:
    """A queue, its peer balance, and the turns that are under way, the oldest first."""

    def __init__(
        self,
        run: str,
        *,
        entitlements: Mapping[TenantId, Entitlement] | None = None,
        express_slots: int = 1,
        slots: int = SLOTS,
    ) -> None:
        known = entitlements or {}
        self.run = run
        self.scheduler = RememberingScheduler(slots - express_slots, express_slots, lambda bank: known.get(bank, EQUAL))
        self.balance = PeerBalance(self.scheduler)
        self.turns: deque[Turn] = deque()
        self.served: list[TenantId] = []

    @property
    def slots(self) -> int:
        """How many of the engine's slots this gateway may fill."""
        return self.balance.slots

    def send(self, bank: TenantId, requests: int = 1, *, batch: bool = False) -> None:
        """Let a bank send requests; each gets its turn as soon as the order gives it one."""
        for _ in range(requests):
            self.scheduler.arrive(bank, Waiting(LENGTH_BOUND, partial(self._begin, bank), batch=batch))
            self.scheduler.dispatch()

    def finish_oldest(self, output_tokens: int = 1) -> None:
        """End the oldest turn, if there is one, with an answer of so many tokens."""
        self._end_oldest(INPUT_TOKENS, output_tokens)

    def give_up_oldest(self) -> None:
        """End the oldest turn, if there is one, before the engine did anything for it: it costs nothing."""
        self._end_oldest(0, 0)

    def charged(self, bank: TenantId) -> int:
        """Return what a bank was charged at this gateway itself."""
        return self.scheduler.standings().get(bank, Standing()).charged

    def counter(self, bank: TenantId) -> int:
        """Return what decides when a bank's next turn is here: the smallest counter is served next."""
        return self.scheduler.counter(bank)

    def hear(self, *, grown: Mapping[TenantId, int] | None = None, **elsewhere: Standing) -> None:
        """Hear where banks stand at all other gateways together, by their short names, and by how much each grew."""
        named = {TenantId(f"bank-{name}"): standing for name, standing in elsewhere.items()}
        self.scheduler.meet(grown or {}, named)

    def _end_oldest(self, input_tokens: int, output_tokens: int) -> None:
        if self.turns:
            self.scheduler.end(self.turns.popleft(), input_tokens=input_tokens, output_tokens=output_tokens)
            self.scheduler.dispatch()

    def _begin(self, bank: TenantId, turn: Turn) -> None:
        self.turns.append(turn)
        self.served.append(bank)


class Table:
    """Every gateway's last report, as the database's table holds it."""

    def __init__(self, *gateways: Gateway) -> None:
        self.gateways = list(gateways)
        self.told: dict[str, GatewayStanding] = {}

    def sync(self, gateway: Gateway) -> None:
        """Let one gateway hear what the others told last, and tell where it stands itself."""
        told = gateway.balance.meet({run: each for run, each in self.told.items() if run != gateway.run})
        self.told[gateway.run] = told
        gateway.balance.hold(told.slots)

    def all_sync(self, rounds: int = 1) -> None:
        """Let every gateway sync, one after the other, so many times."""
        for _ in range(rounds):
            for gateway in self.gateways:
                self.sync(gateway)

    def lose(self, gateway: Gateway) -> None:
        """Let nothing be heard of a gateway any more."""
        del self.told[gateway.run]
