"""Rules by which several replicas of one tenant live through anything, and what must hold after each."""

import asyncio
import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledger_model import LedgerModel, Tokens
from ledger_rig import (
    REFUSAL_REMEMBERED_SECONDS,
    LedgerReplica,
    LostAnswer,
    balances,
    budget_rows,
    open_tenant,
    read,
    set_limit,
    settle_background_work,
)

from finpool.kernel.database import Database
from finpool.kernel.ids import TenantId

NAMES = ("one", "two", "three")
PROJECTS = ("lending", "trading")
MICRO = 1_000_000
_numbers = count()

replicas = st.sampled_from(NAMES)
amounts = st.integers(1, 600).map(lambda micros: micros * MICRO)
positions = st.integers(0, 999)
thousandths = st.tuples(*[st.integers(0, 1000)] * 3)


class LedgerMachine(RuleBasedStateMachine):
    """`urls` is set by the test: the database's roles."""

    urls: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._home = Path(tempfile.mkdtemp(prefix="finpool-machine-"))
        self._tenant = TenantId(f"machine-{next(_numbers)}")
        self._model = LedgerModel()

    def _do(self, work):
        async def whole():
            result = await work
            await settle_background_work()
            return result

        return self._loop.run_until_complete(whole())

    def _budgets(self, project):
        total = f"operator/tenant/{self._tenant}/total"
        return (total, f"operator/project/{PROJECTS[0]}/total") if project == PROJECTS[0] else (total,)

    @initialize(total=st.integers(500, 3000), lending=st.integers(200, 2000))
    def begin(self, total, lending):
        self._do(self._begin())
        self.set_limit("tenant", total)
        self.set_limit("project", lending)
        for replica in self._replicas.values():
            self._do(replica.start())

    async def _begin(self):
        self._connection = await open_tenant(self.urls["operator"], self._tenant)
        self._inference = Database(self.urls["inference"], 5)
        self._worker = Database(self.urls["worker"], 2)
        self._failing = LostAnswer(self.urls["worker"], 1)
        self._replicas = {
            name: LedgerReplica(f"{self._tenant}-{name}", self._home / name, self._inference, self._tenant)
            for name in NAMES
        }

    @rule(scope=st.sampled_from(("tenant", "project")), micros=st.integers(0, 3000))
    def set_limit(self, scope, micros):
        """An operator sets a limit; replicas hear of it later, each in its own time."""
        scope_id = self._tenant if scope == "tenant" else PROJECTS[0]
        budget = f"operator/{scope}/{scope_id}/total"
        self._do(set_limit(self._connection, self._tenant, scope, scope_id, micros))
        posted, pending = self._budget_rows().get(budget, (0, 0))
        self._model.limit(budget, micros * MICRO, posted + pending)

    @rule(name=replicas)
    def hear_of_limits(self, name):
        self._do(self._replicas[name].hear_of_limits())

    @rule(name=replicas, project=st.sampled_from(PROJECTS), amount=amounts)
    def reserve(self, name, project, amount):
        self._reserved(name, project, amount, self._do(self._replicas[name].reserve(project, amount)))

    @rule(project=st.sampled_from(PROJECTS), amount=amounts)
    def reserve_everywhere_at_once(self, project, amount):
        async def all_at_once():
            return await asyncio.gather(*(self._replicas[name].reserve(project, amount) for name in NAMES))

        for name, request_id in zip(NAMES, self._do(all_at_once()), strict=True):
            self._reserved(name, project, amount, request_id)

    def _reserved(self, name, project, amount, request_id):
        if request_id is not None:
            self._model.reserve(request_id, name, self._budgets(project), amount)
            assert request_id in self._replicas[name].spooled()[0], "it would be served without being on disk"

    def _chosen(self, number):
        """Return a request under way, or None; chosen by its place, for its id is another each time."""
        under_way = list(self._model.under_way)
        return under_way[number % len(under_way)] if under_way else None

    def _tokens(self, request_id, parts) -> Tokens:
        """Return tokens that cost no more than what is held, in these parts of a thousand."""
        most = self._model.under_way[request_id].held_picos
        fresh, cached = most * parts[0] // 6000, most * parts[1] // 6000
        return fresh + cached, cached, (most - 3 * fresh - cached) * parts[2] // 5000

    @rule(number=positions, parts=thousandths)
    def mark(self, number, parts):
        if (request_id := self._chosen(number)) is not None:
            tokens = self._tokens(request_id, parts)
            self._replicas[self._model.under_way[request_id].replica].mark(request_id, tokens)
            self._model.mark(request_id, tokens)

    @rule(number=positions, parts=thousandths, outcome=st.sampled_from(("completed", "aborted", "failed")))
    def settle(self, number, parts, outcome):
        if (request_id := self._chosen(number)) is not None:
            tokens = self._tokens(request_id, parts)
            replica = self._replicas[self._model.under_way[request_id].replica]
            self._do(replica.settle(request_id, outcome, tokens))
            self._model.settle(request_id, outcome, tokens)

    @rule(number=positions)
    def release(self, number):
        if (request_id := self._chosen(number)) is not None:
            self._do(self._replicas[self._model.under_way[request_id].replica].release(request_id))
            self._model.release(request_id)

    @rule(name=replicas, leaving=st.booleans())
    def give_back(self, name, leaving):
        self._do(self._replicas[name].give_back(leaving=leaving))

    @rule(name=replicas)
    def crash(self, name):
        self._do(self._replicas[name].die())
        self._do(self._replicas[name].start())
        self._model.crash(name)

    @rule(name=replicas)
    def record(self, name):
        self._do(self._replicas[name].record(self._worker))
        self._model.record(name)

    @rule(name=replicas, committed=st.booleans())
    def record_and_lose_the_answer(self, name, committed):
        """The recorder is told of a failure where there was none, or of a real one; then it goes on."""
        self._failing.committed = committed
        with pytest.raises(OSError, match="the connection broke"):
            self._do(self._replicas[name].record(self._failing))
        self.record(name)

    @rule(name=replicas)
    def record_again(self, name):
        records = self._replicas[name].spooled()[1]
        self.record(name)
        self._replicas[name].put_back(records)
        self._do(self._replicas[name].record(self._worker))

    def _budget_rows(self):
        return self._do(budget_rows(self._connection, self._tenant))

    def _balances(self):
        return self._do(balances(self._connection, self._tenant))

    @invariant()
    def what_is_recorded_is_what_the_model_says(self):
        rows = self._do(read(self._connection, "SELECT * FROM usage_record WHERE tenant_id = $1", self._tenant))
        found = {
            row["request_id"]: (
                row["outcome"],
                (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]),
                int(row["cost_picos"]),
                row["estimated"],
            )
            for row in rows
        }
        ended = self._model.recorded.items()
        assert found == {key: (each.outcome, each.tokens, each.cost_picos, each.estimated) for key, each in ended}
        assert sorted(row["usage_seq"] for row in rows) == list(range(1, len(rows) + 1))

    @invariant()
    def budgets_hold_and_cover_what_is_outstanding(self):
        of_account = self._balances()
        for budget, (posted, pending) in self._budget_rows().items():
            assert posted == self._model.posted(budget) == of_account.get(f"spent:{budget}", 0)
            assert pending >= self._model.outstanding(budget), f"{budget} does not cover what runs and what is spooled"
            assert posted + pending <= self._model.most(budget), f"{budget} is over its limit"
            assert posted + pending == -of_account.get(f"available:{budget}", 0)
            self._model.excused_picos[budget] = min(self._model.excused_picos[budget], posted + pending)

    @invariant()
    def the_ledger_balances(self):
        of_account = self._balances()
        assert of_account.get("unbilled", 0) == -of_account.get("revenue", 0) == self._model.total_picos()
        query = (
            "SELECT transfer_id FROM posting WHERE tenant_id = $1 GROUP BY transfer_id HAVING sum(amount_picos) <> 0"
        )
        assert self._do(read(self._connection, query, self._tenant)) == []
        query = "SELECT lease_id, granted_picos - spent_picos AS held FROM lease WHERE tenant_id = $1"
        for lease in self._do(read(self._connection, f"{query} AND closed_at IS NULL", self._tenant)):
            assert of_account.get(f"lease:{lease['lease_id']}", 0) == int(lease["held"]) >= 0

    @rule()
    def come_to_rest(self):
        """With nothing under way nothing is held, and one replica can spend all that is left, and no more."""
        for request_id, request in list(self._model.under_way.items()):
            self._do(self._replicas[request.replica].settle(request_id, "completed", (0, 0, 0)))
            self._model.settle(request_id, "completed", (0, 0, 0))
        for name in NAMES:
            self.hear_of_limits(name)
            self._do(self._replicas[name].give_back(leaving=True))
            self.record(name)
        assert all(pending == 0 for _, pending in self._budget_rows().values())
        self._do(asyncio.sleep(REFUSAL_REMEMBERED_SECONDS))
        budgets = self._budgets(PROJECTS[0])
        rest = min(self._model.limits_picos[budget] - self._model.posted(budget) for budget in budgets)
        assert self._do(self._replicas[NAMES[0]].reserve(PROJECTS[0], max(rest, 0) + 1)) is None
        if rest > 0:
            self._do(asyncio.sleep(REFUSAL_REMEMBERED_SECONDS))
            request_id = self._do(self._replicas[NAMES[0]].reserve(PROJECTS[0], rest))
            assert request_id is not None, f"{rest} picos are left, and cannot be spent"
            self._reserved(NAMES[0], PROJECTS[0], rest, request_id)

    def teardown(self):
        if hasattr(self, "_replicas"):
            for replica in self._replicas.values():
                self._do(replica.die())
            self._do(self._close())
        self._loop.close()
        shutil.rmtree(self._home)

    async def _close(self):
        await self._connection.close()
        for database in (self._inference, self._worker, self._failing):
            await database.close()
