"""What all clients share: one platform as `make up` brings it, a key of a bank, and the table at the end."""

import pytest
from client_matrix import CHECKS, CLIENTS
from client_runs import Outcome, Runs
from installation import Installation
from waiting import until_now

from finpool.installation.pool.engines_file import read_engines

READY_SECONDS_MAX = 600
BACKGROUND_MODELS = {"multilingual-e5-small", "multilingual-e5-small-rerank"}

_OUTCOMES = pytest.StashKey[dict[tuple[str, str], Outcome]]()


@pytest.fixture(scope="module")
def runs(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The programs' runs, with a developer's key of bank A, once all models of the demo serve."""

    def all_serve() -> bool:
        state = read_engines(installation.home)
        return state is not None and not state.background and state.engine_paths.keys() >= BACKGROUND_MODELS

    key = installation.json("key", "create", "bank-a", "research", "--name", "clients", "--role", "developer")
    until_now(all_serve, "the models serve", seconds_max=READY_SECONDS_MAX, pause_seconds=0.2)
    bank = {"FINPOOL_BASE_URL": installation.demo_env["FINPOOL_BASE_URL"], "BANK_A_KEY": key["secret"]}
    return Runs(tmp_path_factory.mktemp("clients"), bank)


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> dict[tuple[str, str], Outcome]:
    """The outcome of each client and check up to now, for the table."""
    return request.config.stash.setdefault(_OUTCOMES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of clients and checks: passed tests, then `-N` failed ones and `+N` left out."""
    outcomes = config.stash.get(_OUTCOMES, {})
    if not outcomes:
        return
    width = max(len(each.name) for each in CLIENTS) + 2
    terminalreporter.write_sep("=", "clients: tests passed, -failed, (left out)")
    terminalreporter.write_line(" " * width + "  ".join(f"{check:>{max(len(check), 9)}}" for check in CHECKS))
    for client in CLIENTS:
        cells = (_cell(outcomes.get((client.name, check))) for check in CHECKS)
        row = "  ".join(f"{cell:>{max(len(check), 9)}}" for check, cell in zip(CHECKS, cells, strict=True))
        terminalreporter.write_line(client.name.ljust(width) + row)


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    failed = f" -{len(outcome.failed)}" if outcome.failed else ""
    left_out = f" ({len(outcome.left_out)})" if outcome.left_out else ""
    return f"{outcome.passed}{failed}{left_out}"
