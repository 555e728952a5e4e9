"""Real clients against the models that `make up` serves: each documented example, and each kind of use."""

import pytest
from client_matrix import CLIENTS, ROOT, Client
from client_runs import Outcome, Runs

pytest_plugins = ("client_table",)

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
CHECKS = [pytest.param(client, check, id=f"{client.name}: {check}") for client in CLIENTS for check in client.checks]


@pytest.mark.parametrize(("client", "check"), CHECKS)
def test_a_client_passes_a_check(
    runs: Runs, outcomes: dict[tuple[str, str], Outcome], client: Client, check: str
) -> None:
    outcome = outcomes[client.name, check] = runs.of(client).get(check, Outcome())
    assert outcome.failed == [], "\n".join(outcome.failed)
    assert outcome.passed > 0


@pytest.mark.parametrize("client", CLIENTS, ids=[client.name for client in CLIENTS])
def test_a_program_makes_no_check_that_the_table_leaves_out(runs: Runs, client: Client) -> None:
    assert set(runs.of(client)) == set(client.checks)


@pytest.mark.parametrize("client", CLIENTS, ids=[client.name for client in CLIENTS])
def test_the_page_names_the_version_that_is_tried(client: Client) -> None:
    package = client.package.removesuffix("-year-old")
    assert f"| {client.name} | `{package}` {client.version()} |" in PAGE
