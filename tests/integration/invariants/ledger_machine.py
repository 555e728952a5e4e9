"""A random story of one bank: three replicas serve it through crashes, lost answers and changed limits.

Each rule is one event of the story. After each event the books must agree with `LedgerModel`, which plays the same
events with plain dictionaries; the invariants at the end say what must agree.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledger_books import Books
from ledger_model import LedgerModel, Tokens
from ledger_rig import REFUSAL_REMEMBERED_SECONDS, LedgerReplica, LostAnswer, settle_background_work
from skipping_clock import SkippingClock

from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

NAMES = "one", "two", "three"
LENDING, TRADING = "lending", "trading"
"""The bank's projects. The bank has a budget, and within it the lending project has one of its own."""

MICRO = 1_000_000
_numbers = count()
Result = TypeVar("Result")

replicas = st.sampled_from(NAMES)
projects = st.sampled_from((LENDING, TRADING))
amounts = st.integers(1, 600).map(lambda micros: micros * MICRO)
places = st.integers(0, 999)
thousandths = st.tuples(*[st.integers(0, 1000)] * 3)


class LedgerMachine(RuleBasedStateMachine):
    """`urls` (of the database's roles) and `clock` (of the replicas) are set by the test."""

    urls: dict[str, str]
    clock: SkippingClock

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._home = Path(tempfile.mkdtemp(prefix="finpool-machine-"))
        self._bank = TenantId(f"machine-{next(_numbers)}")
        self._model = LedgerModel()

    @initialize(bank_micros=st.integers(500, 3000), lending_micros=st.integers(200, 2000))
    def begin(self, bank_micros: int, lending_micros: int) -> None:
        """An operator opens the bank's account and sets its limits, and three replicas start."""
        self._books = self._do(Books.opened(self.urls["operator"], self._bank))
        self._inference = Database(self.urls["inference"], 5)
        self._worker = Database(self.urls["worker"], 2)
        self._failing_worker = LostAnswer(self.urls["worker"], 1)
        self._replicas = {
            name: LedgerReplica(f"{self._bank}-{name}", self._home / name, self._inference, self._bank)
            for name in NAMES
        }
        self.set_limit("tenant", bank_micros)
        self.set_limit("project", lending_micros)
        for replica in self._replicas.values():
            self._do(replica.start())

    @rule(scope=st.sampled_from(("tenant", "project")), micros=st.integers(0, 3000))
    def set_limit(self, scope: str, micros: int) -> None:
        """An operator sets a limit; replicas hear of it later, each in its own time."""
        scope_id = self._bank if scope == "tenant" else LENDING
        budget = f"operator/{scope}/{scope_id}/total"
        self._do(self._books.set_limit(scope, scope_id, micros))
        posted, pending = self._do(self._books.budgets()).get(budget, (0, 0))
        self._model.limit(budget, micros * MICRO, posted + pending)

    @rule(name=replicas)
    def hear_of_limits(self, name: str) -> None:
        """A replica hears of the limits that operators set meanwhile."""
        self._do(self._replicas[name].hear_of_limits())

    @rule(name=replicas, project=projects, amount=amounts)
    def reserve(self, name: str, project: str, amount: int) -> None:
        """A request comes to a replica, and is let through or refused."""
        self._let_through(name, project, amount, self._do(self._replicas[name].reserve(project, amount)))

    @rule(project=projects, amount=amounts)
    def reserve_everywhere_at_once(self, project: str, amount: int) -> None:
        """Requests come to all replicas in the same moment."""

        async def at_once() -> list[str | None]:
            return await asyncio.gather(*(self._replicas[name].reserve(project, amount) for name in NAMES))

        for name, request_id in zip(NAMES, self._do(at_once()), strict=True):
            self._let_through(name, project, amount, request_id)

    @rule(place=places, parts=thousandths)
    def mark(self, place: int, parts: Tokens) -> None:
        """An answer comes along, and the meter notes how far it has come."""
        if (request_id := self._under_way(place)) is not None:
            tokens = self._model.affordable_tokens(request_id, parts)
            self._replica_of(request_id).mark(request_id, tokens)
            self._model.mark(request_id, tokens)

    @rule(place=places, parts=thousandths, outcome=st.sampled_from(("completed", "aborted", "failed")))
    def settle(self, place: int, parts: Tokens, outcome: str) -> None:
        """An answer ends, and its cost is settled."""
        if (request_id := self._under_way(place)) is not None:
            self._settle(request_id, outcome, self._model.affordable_tokens(request_id, parts))

    @rule(place=places)
    def release(self, place: int) -> None:
        """A request ends before an engine saw it."""
        if (request_id := self._under_way(place)) is not None:
            self._do(self._replica_of(request_id).release(request_id))
            self._model.release(request_id)

    @rule(name=replicas, leaving=st.booleans())
    def give_back(self, name: str, leaving: bool) -> None:
        """A replica gives back its unused leases; one that is leaving takes no new request out of the others."""
        self._do(self._replicas[name].give_back(leaving=leaving))

    @rule(name=replicas)
    def crash(self, name: str) -> None:
        """A replica is killed and starts again: each of its requests ends at its last mark."""
        self._do(self._replicas[name].die())
        self._do(self._replicas[name].start())
        self._model.crash(name)

    @rule(name=replicas)
    def record(self, name: str) -> None:
        """A recorder carries all that a replica's spool holds into the books."""
        self._do(self._replicas[name].record(self._worker))
        self._model.record(name)

    @rule(name=replicas, committed=st.booleans())
    def record_and_lose_the_answer(self, name: str, committed: bool) -> None:
        """The recorder's connection breaks at the commit, which counts or not; then it records again."""
        self._failing_worker.committed = committed
        with pytest.raises(OSError, match="the connection broke"):
            self._do(self._replicas[name].record(self._failing_worker))
        self.record(name)

    @rule(name=replicas)
    def record_again(self, name: str) -> None:
        """Records that are in the books already lie in the spool again, and are recorded a second time."""
        records = self._replicas[name].spooled()[1]
        self.record(name)
        self._replicas[name].put_back(records)
        self._do(self._replicas[name].record(self._worker))

    @rule()
    def come_to_rest(self) -> None:
        """Every request ends and every lease goes back: then nothing is held, and all that is left can be spent."""
        for request_id in list(self._model.under_way):
            self._settle(request_id, "completed", (0, 0, 0))
        for name in NAMES:
            self.hear_of_limits(name)
            self.give_back(name, leaving=True)
            self.record(name)
        assert all(pending == 0 for _, pending in self._do(self._books.budgets()).values())
        budgets = self._budgets_of(LENDING)
        rest = max(0, min(self._model.limits_picos[each] - self._model.posted(each) for each in budgets))
        assert self._reserve_at_rest(rest + 1) is None, "more than all that is left was let through"
        if rest:
            let_through = self._reserve_at_rest(rest)
            assert let_through is not None, f"{rest} picos are left, and cannot be spent"
            self._let_through(NAMES[0], LENDING, rest, let_through)

    @invariant()
    def every_request_is_recorded_once_as_the_model_says(self) -> None:
        records = self._do(self._books.usage())
        found = {
            record["request_id"]: (
                record["outcome"],
                (record["input_tokens"], record["cached_input_tokens"], record["output_tokens"]),
                int(record["cost_picos"]),
                record["estimated"],
            )
            for record in records
        }
        ended = self._model.recorded.items()
        assert found == {key: (each.outcome, each.tokens, each.cost_picos, each.estimated) for key, each in ended}
        assert sorted(record["usage_seq"] for record in records) == list(range(1, len(records) + 1))

    @invariant()
    def budgets_hold_and_cover_what_is_outstanding(self) -> None:
        balances = self._do(self._books.balances())
        for budget, (posted, pending) in self._do(self._books.budgets()).items():
            assert posted == self._model.posted(budget) == balances.get(f"spent:{budget}", 0)
            assert pending >= self._model.outstanding(budget), f"{budget} does not cover what runs and what is spooled"
            assert posted + pending <= self._model.most(budget), f"{budget} is over its limit"
            assert posted + pending == -balances.get(f"available:{budget}", 0)
            self._model.used(budget, posted + pending)

    @invariant()
    def the_ledger_balances(self) -> None:
        balances = self._do(self._books.balances())
        assert balances.get("unbilled", 0) == -balances.get("revenue", 0) == self._model.total_picos()
        assert self._do(self._books.unbalanced_transfers()) == []
        for lease_id, held_picos in self._do(self._books.open_leases()).items():
            assert balances.get(f"lease:{lease_id}", 0) == held_picos >= 0

    def teardown(self) -> None:
        """Kill the replicas and close the books."""
        if hasattr(self, "_replicas"):
            for replica in self._replicas.values():
                self._do(replica.die())
            for opened in (self._books, self._inference, self._worker, self._failing_worker):
                self._do(opened.close())
        self._loop.close()
        shutil.rmtree(self._home)

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Let something happen, and all that it begins in the background."""

        async def whole() -> Result:
            result = await work
            await settle_background_work()
            return result

        return self._loop.run_until_complete(whole())

    def _budgets_of(self, project: str) -> tuple[str, ...]:
        of_bank = f"operator/tenant/{self._bank}/total"
        return (of_bank, f"operator/project/{LENDING}/total") if project == LENDING else (of_bank,)

    def _let_through(self, name: str, project: str, amount: int, request_id: str | None) -> None:
        if request_id is not None:
            self._model.reserve(request_id, name, self._budgets_of(project), amount)
            assert request_id in self._replicas[name].spooled()[0], "it would be served without being on disk"

    def _reserve_at_rest(self, amount: int) -> str | None:
        """Reserve for the lending project, after the replica has forgotten that it was refused before."""
        self.clock.skip(REFUSAL_REMEMBERED_SECONDS)
        return self._do(self._replicas[NAMES[0]].reserve(LENDING, amount))

    def _under_way(self, place: int) -> str | None:
        """Return a request under way, or None; chosen by its place, for its id is another each time."""
        request_ids = list(self._model.under_way)
        return request_ids[place % len(request_ids)] if request_ids else None

    def _replica_of(self, request_id: str) -> LedgerReplica:
        return self._replicas[self._model.under_way[request_id].replica]

    def _settle(self, request_id: str, outcome: str, tokens: Tokens) -> None:
        self._do(self._replica_of(request_id).settle(request_id, outcome, tokens))
        self._model.settle(request_id, outcome, tokens)
