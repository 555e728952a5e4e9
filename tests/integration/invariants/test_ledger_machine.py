"""Random histories of several replicas on one tenant, held against a model after each step.

These invariants of the design hold here: 1 (never over a limit), 2 (a reservation resolves once), 3 (settled usage is
never lost). So do 4 (usage = ledger), 5 (transfers sum to zero), 7 (nothing is served that is not on disk) and 9
(replay changes nothing). The others have tests of their own: 6 in tests/integration/test_isolation.py, 8 in
tests/integration/audit/test_audit_log.py, 10 in tests/integration/gateway/test_refusals.py. Kills of whole processes
are the fault run's (tests/faultrun).
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from ledger_machine import LedgerMachine
from skipping_clock import skip_time

from finpool.installation.postgres import EmbeddedPostgres
from finpool.quota.grant import grants
from finpool.quota.grant.schemas import BudgetRest
from finpool.quota.reservation.leases import Leases

MACHINE = settings(
    max_examples=int(os.environ.get("FINPOOL_MACHINE_EXAMPLES", "8")),
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def machine(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> type[LedgerMachine]:
    """The machine on this test's database; a refused request does not wait for leases on their way back."""
    monkeypatch.setattr("finpool.quota.reservation.service.RETURN_WAIT_SECONDS", 0.0)
    LedgerMachine.urls = postgres.urls
    LedgerMachine.clock = skip_time(monkeypatch)
    return LedgerMachine


def test_every_history_of_several_replicas_agrees_with_the_model(machine: type[LedgerMachine]) -> None:
    run_state_machine_as_test(machine, settings=MACHINE)


def settled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a request is taken from its lease twice."""

    def twice(self: Leases, *args: Any) -> None:
        settle(self, *args)
        settle(self, *args)

    settle = Leases.settle
    monkeypatch.setattr(Leases, "settle", twice)


def granted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget is granted as if nothing of it were spent or held."""

    async def whole_limit(*args: Any) -> BudgetRest:
        rest = await budget_rest(*args)
        granted = max(rest.granted_picos, min(rest.need.wanted_picos, rest.limit_picos // 2))
        return replace(rest, rest_picos=rest.limit_picos, granted_picos=granted)

    budget_rest = grants.budget_rest
    monkeypatch.setattr(grants, "budget_rest", whole_limit)


@pytest.mark.parametrize("bug", [settled_twice, granted_twice])
def test_the_machine_finds_a_planted_bug(
    bug: Callable[[pytest.MonkeyPatch], None], machine: type[LedgerMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    only_find_it = settings(MACHINE, max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=only_find_it)
