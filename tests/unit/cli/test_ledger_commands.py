"""`finpool ledger` and `finpool invoice save`, against an operator API that answers what a test says."""

import json
from pathlib import Path
from typing import Any

import pytest

from finpool.cli import ledger as commands_ledger
from finpool.cli.main import run

TOTALS = {"tenant_id": "bank-a", "requests": 5, "used_picos": "1200"}
DIFFERENCE = {
    "tenant_id": "bank-a",
    "left": "log",
    "right": "usage",
    "subject": "request req_1",
    "left_value": "10 tokens",
    "right_value": "",
}


class Operator:
    """Answers, and keeps what it was asked."""

    def __init__(self, differences: list[dict[str, str]]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._differences = differences

    def list(self, path: str) -> list[dict[str, Any]]:
        return [{"id": "fin-7b"}]

    def get(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, query))
        if path == "/v1/usage":
            used = {"model_id": "fin-7b", "input_tokens": 10, "output_tokens": 3}
            return {"data": [used]}
        period = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
        return {**period, "engines": "log", "tenants": [TOTALS], "differences": self._differences}

    def download(self, path: str, query: dict[str, Any]) -> bytes:
        self.asked.append((path, query))
        return b"%PDF"


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Operator:
    """The API that the commands call."""
    api = Operator(getattr(request, "param", []))
    monkeypatch.setattr(commands_ledger, "operator_api", lambda: api)
    return api


def test_reconcile_prints_sums_and_no_differences(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "reconcile", "--from", "2026-10-01", "--to", "2026-11-01", "--tenant", "bank-a"]) == 0
    shown = capsys.readouterr().out
    assert "0 differences" in shown
    assert "1200" in shown
    query = {"from": "2026-10-01", "to": "2026-11-01", "tenant_id": "bank-a"}
    assert operator.asked == [("/v1/reconciliation", query)]


@pytest.mark.parametrize("operator", [[DIFFERENCE]], indirect=True)
@pytest.mark.parametrize("as_json", [False, True])
def test_reconcile_prints_every_difference_and_ends_with_four(
    operator: Operator, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "reconcile", *(["--json"] if as_json else [])]) == 4
    shown = capsys.readouterr().out
    assert "request req_1" in shown
    if as_json:
        assert json.loads(shown)["differences"] == [DIFFERENCE]
    else:
        assert "1 difference\n" in shown


@pytest.mark.parametrize(("output_tokens", "exit_code"), [(3, 0), (4, 4)])
def test_reconcile_compares_what_engines_counted_when_asked_to(
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output_tokens: int,
    exit_code: int,
) -> None:
    counted = {"fin-7b": {"input_tokens": 10, "output_tokens": output_tokens}}
    monkeypatch.setattr(commands_ledger, "engine_counts", lambda settings: counted)
    assert run(["ledger", "reconcile", "--engines", "--json"]) == exit_code
    answer = json.loads(capsys.readouterr().out)
    assert answer["engines"] == "counters"
    assert [each["subject"] for each in answer["differences"]] == ["model fin-7b: output_tokens"] * (exit_code // 4)


def test_engines_count_for_all_tenants_only(operator: Operator) -> None:
    assert run(["ledger", "reconcile", "--engines", "--tenant", "bank-a"]) == 2


def test_files_are_saved_where_they_are_asked_for(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "invoice.pdf"
    assert run(["invoice", "save", "bank-a", "inv_1", "--output", str(file)]) == 0
    assert file.read_bytes() == b"%PDF"
    months = ["--from", "2026-10", "--to", "2026-11", "--format", "parquet"]
    assert run(["ledger", "focus", "bank-a", "--output", str(file), *months]) == 0
    assert operator.asked == [
        ("/v1/tenants/bank-a/invoices/inv_1/file", {"format": "pdf"}),
        ("/v1/tenants/bank-a/focus", {"from": "2026-10", "to": "2026-11", "format": "parquet"}),
    ]
