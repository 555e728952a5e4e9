"""A second implementation of quota, spool and ledger, with dictionaries and nothing else."""

from collections import defaultdict
from dataclasses import dataclass, field

PRICES = (3, 1, 5)
"""Picos per token of fresh input, cached input and output."""

Tokens = tuple[int, int, int]
"""Input, of which cached, and output."""


def cost_picos(tokens: Tokens) -> int:
    """Return what tokens cost."""
    fresh = tokens[0] - tokens[1]
    return fresh * PRICES[0] + tokens[1] * PRICES[1] + tokens[2] * PRICES[2]


@dataclass
class Request:
    """One request: its replica, its reservation of each budget, and its progress."""

    replica: str
    budgets: tuple[str, ...]
    held_picos: int
    marked: Tokens = (0, 0, 0)


@dataclass(frozen=True)
class Ended:
    """How a request ended, as it must be found in the table of usage."""

    outcome: str
    tokens: Tokens
    cost_picos: int
    estimated: bool
    budgets: tuple[str, ...]


@dataclass
class LedgerModel:
    """A tenant with budgets, of which several replicas spend."""

    limits_picos: dict[str, int] = field(default_factory=dict)
    excused_picos: dict[str, int] = field(default_factory=dict)
    under_way: dict[str, Request] = field(default_factory=dict)
    spooled: dict[str, dict[str, Ended]] = field(default_factory=lambda: defaultdict(dict))
    recorded: dict[str, Ended] = field(default_factory=dict)

    def limit(self, budget: str, limit_picos: int, in_use_picos: int) -> None:
        """Set a limit. The money spent and held when it was lowered may be above it, and may only become less."""
        self.limits_picos[budget] = limit_picos
        self.excused_picos[budget] = in_use_picos

    def reserve(self, request_id: str, replica: str, budgets: tuple[str, ...], amount_picos: int) -> None:
        """A request was let through: it runs once, and its reservation fits into every limit."""
        assert request_id not in self.under_way
        self.under_way[request_id] = Request(replica, budgets, amount_picos)
        for budget in budgets:
            assert self.in_use(budget) <= self.most(budget), f"{request_id} does not fit into {budget}"

    def affordable_tokens(self, request_id: str, thousandths: Tokens) -> Tokens:
        """Return tokens that cost no more than a request's reservation, in these parts of it."""
        held = self.under_way[request_id].held_picos
        fresh, cached = held * thousandths[0] // 6000, held * thousandths[1] // 6000
        return fresh + cached, cached, (held - 3 * fresh - cached) * thousandths[2] // 5000

    def mark(self, request_id: str, tokens: Tokens) -> None:
        """A request has come so far, and that is written down."""
        self.under_way[request_id].marked = tokens

    def settle(self, request_id: str, outcome: str, tokens: Tokens, *, estimated: bool = False) -> None:
        """A request ended; only an engine's failure costs nothing."""
        request = self.under_way.pop(request_id)
        cost = 0 if outcome == "failed" else cost_picos(tokens)
        self.spooled[request.replica][request_id] = Ended(outcome, tokens, cost, estimated, request.budgets)

    def release(self, request_id: str) -> None:
        """A request ended before an engine saw it: as if it had never been."""
        del self.under_way[request_id]

    def crash(self, replica: str) -> None:
        """A replica died: each of its requests ends at its last mark."""
        for request_id, request in list(self.under_way.items()):
            if request.replica == replica:
                self.settle(request_id, "crashed", request.marked, estimated=True)

    def record(self, replica: str) -> None:
        """All that a replica's spool holds was recorded."""
        self.recorded |= self.spooled.pop(replica, {})

    def posted(self, budget: str) -> int:
        """Return what is recorded against a budget."""
        return sum(ended.cost_picos for ended in self.recorded.values() if budget in ended.budgets)

    def outstanding(self, budget: str) -> int:
        """Return what must be held of a budget: for requests under way and for settlements not recorded yet."""
        spooled = (ended for each in self.spooled.values() for ended in each.values() if budget in ended.budgets)
        under_way = (request for request in self.under_way.values() if budget in request.budgets)
        return sum(ended.cost_picos for ended in spooled) + sum(request.held_picos for request in under_way)

    def in_use(self, budget: str) -> int:
        """Return the least that a budget must show as spent and held together."""
        return self.posted(budget) + self.outstanding(budget)

    def most(self, budget: str) -> int:
        """Return the most that a budget may show as spent and held together."""
        return max(self.limits_picos[budget], self.excused_picos.get(budget, 0))

    def used(self, budget: str, in_use_picos: int) -> None:
        """A budget above its limit was seen with less in use: it may never have more again."""
        self.excused_picos[budget] = min(self.excused_picos[budget], in_use_picos)

    def total_picos(self) -> int:
        """Return what the tenant owes for all that is recorded."""
        return sum(ended.cost_picos for ended in self.recorded.values())
