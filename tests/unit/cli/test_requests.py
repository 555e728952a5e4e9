"""What commands ask of the operator API."""

from typing import Any

import pytest

from finpool.cli import limits as commands_limits
from finpool.cli import tenancy as commands_tenancy
from finpool.cli import views as commands_views
from finpool.cli.main import run
from finpool.client.api import ApiClient


class RecordingApi(ApiClient):
    """An operator API that notes what it is asked and answers with nothing much."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "fpo_token")
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], dict[str, Any]] = {}

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self.asked.append((method, path, body))
        return self.answers.get((method, path)) or {"from": 0, "to": 1, "data": []}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> RecordingApi:
    recording = RecordingApi()
    for module in (commands_limits, commands_tenancy, commands_views):
        monkeypatch.setattr(module, "operator_api", lambda: recording)
    return recording


def test_a_key_is_renamed(api: RecordingApi) -> None:
    assert run(["key", "change", "bank-a", "key_1", "--name", "Payments"]) == 0
    assert api.asked == [("PATCH", "/v1/tenants/bank-a/keys/key_1", {"name": "Payments"})]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], "tenant"),
        (["--group-by", "tenant,model"], "tenant%2Cmodel"),
        (["--group-by", "tenant", "--group-by", "model"], "tenant%2Cmodel"),
        (["--group-by", "model, tenant,model", "--group-by", "day"], "model%2Ctenant%2Cday"),
    ],
)
def test_usage_is_grouped_by_lists_and_by_repeated_options(api: RecordingApi, options: list[str], asked: str) -> None:
    assert run(["usage", "show", *options]) == 0
    assert api.asked == [("GET", f"/v1/usage?group_by={asked}", None)]


LIMITS = {
    "budget_day_micros": None,
    "budget_month_micros": 100,
    "budget_total_micros": None,
    "soft_thresholds_percent": [80],
    "requests_per_minute": 60,
    "tokens_per_minute": None,
    "concurrency": None,
}


def limit(set_by: str, scope: str, scope_id: str, **limits: Any) -> dict[str, Any]:
    return {"set_by": set_by, "scope": scope, "scope_id": scope_id, "limits": LIMITS | limits}


@pytest.mark.parametrize(
    ("options", "about", "limits"),
    [
        (
            ["--budget-month-micros", "5", "--requests-per-minute", "none", "--soft-thresholds-percent", "50, 90"],
            "tenant/bank-a",
            {"budget_month_micros": 5, "requests_per_minute": None, "soft_thresholds_percent": [50, 90]},
        ),
        (
            ["--scope", "project", "--id", "lending", "--budget-day-micros", "7"],
            "project/lending",
            {"budget_month_micros": 9, "budget_day_micros": 7},
        ),
        (
            ["--scope", "key", "--id", "key_1", "--budget-total-micros", "7", "--concurrency", "0"],
            "key/key_1",
            {"budget_month_micros": None, "soft_thresholds_percent": [], "requests_per_minute": None}
            | {"budget_total_micros": 7, "concurrency": 0},
        ),
        (
            ["--scope", "model", "--id", "m.1", "--soft-thresholds-percent", "none", "--tokens-per-minute", "3"],
            "model/m.1",
            {"soft_thresholds_percent": [], "tokens_per_minute": 3},
        ),
    ],
)
def test_limits_that_are_set_keep_what_an_operator_set_before(
    api: RecordingApi, options: list[str], about: str, limits: dict[str, Any]
) -> None:
    path = f"/v1/tenants/bank-a/limits/{about}"
    in_force = [
        limit("operator", "tenant", "bank-a"),
        limit("operator", "project", "lending", budget_month_micros=9),
        limit("operator", "model", "m.1"),
        limit("tenant", "key", "key_1", concurrency=3),
    ]
    api.answers["GET", "/v1/tenants/bank-a/limits"] = {"data": in_force}
    api.answers["PUT", path] = limit("operator", *about.split("/"), **limits)
    assert run(["limits", "set", "bank-a", *options]) == 0
    assert api.asked[-1] == ("PUT", path, LIMITS | limits)


def test_limits_are_listed_with_who_set_them(api: RecordingApi, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [limit("operator", "tenant", "bank-a"), limit("tenant", "key", "key_1", concurrency=0)]
    listed[1]["limits"]["soft_thresholds_percent"] = []
    api.answers["GET", "/v1/tenants/bank-a/limits"] = {"data": listed}
    assert run(["limits", "list", "bank-a"]) == 0
    heads, first, second = capsys.readouterr().out.splitlines()
    limited = ["budget_month_micros", "soft_thresholds_percent", "requests_per_minute", "concurrency"]
    assert heads.split() == ["set_by", "scope", "scope_id", *limited]
    assert first.split() == ["operator", "tenant", "bank-a", "100", "80", "60", "-"]
    assert second.split() == ["tenant", "key", "key_1", "100", "-", "60", "0"]


def test_an_account_is_shown_with_each_of_its_budgets(api: RecordingApi, capsys: pytest.CaptureFixture[str]) -> None:
    budget = {
        "set_by": "operator",
        "scope": "tenant",
        "scope_id": "bank-a",
        "period": "month",
        "limit_micros": 100,
        "posted_micros": 7,
        "pending_micros": 3,
        "resets_at": "2026-12-01T00:00:00Z",
    }
    account = {"tenant_id": "bank-a", "payment": "postpaid", "funded_micros": None}
    totals = {"posted_micros": 7, "pending_micros": 3}
    api.answers["GET", "/v1/tenants/bank-a/account"] = {**account, **totals, "budgets": [budget]}
    assert run(["account", "bank-a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["posted_micros", "7"]
    assert lines[-1].split() == ["operator", "tenant", "bank-a", "month", "100", "7", "3", "2026-12-01T00:00:00Z"]
