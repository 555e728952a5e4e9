"""The requests of the price and contract commands to the operator API."""

from typing import Any

import pytest

from finpool.cli import contracts as commands_contracts
from finpool.cli import prices as commands_prices
from finpool.cli.main import run
from finpool.client.api import ApiClient

PRICE = {
    "tier": "standard",
    "valid_from": "2026-12-01T00:00:00Z",
    "price_version": None,
    "price": None,
    "off_peak_from": None,
    "off_peak_until": None,
    "in_force": False,
}
CONTRACT = {
    "discount_basis_points": 0,
    "commitment_micros": 0,
    "pool_weight": 0,
    "service_weight": 1,
    "service_share_min_basis_points": 0,
    "payment": None,
}
CONTRACTS = [
    {**CONTRACT, "version": 2, "valid_from": "2099-01-01T00:00:00Z", "discount_basis_points": 900, "pool_weight": 9},
    {**CONTRACT, "version": 1, "valid_from": "2026-01-01T00:00:00Z", "discount_basis_points": 500, "pool_weight": 7},
]
MONTH = {
    "month": "2026-11-01",
    "currency": "CNY",
    "amount_micros": 7,
    "equal_share_basis_points": 2550,
    "fees": [{"tenant_id": "bank-a", "pool_weight": 1, "fee_micros": 7}],
}


class RecordingApi(ApiClient):
    """An operator API that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "fpo_token")
        self.asked: list[tuple[str, str, Any]] = []

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self.asked.append((method, path, body))
        if "pool-costs" in path:
            return MONTH
        if "contracts" in path:
            return {"data": CONTRACTS} if method == "GET" else CONTRACTS[0]
        return {"declared": {}, "declared_price_version": "v", "declared_in_force": True, "data": [PRICE]} | (
            PRICE if method == "POST" else {}
        )


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> RecordingApi:
    recording = RecordingApi()
    for module in (commands_contracts, commands_prices):
        monkeypatch.setattr(module, "operator_api", lambda: recording)
    return recording


def test_an_off_peak_price_is_scheduled_with_its_hours(api: RecordingApi) -> None:
    amounts = ["--input", "10", "--cached-input", "5", "--output", "30"]
    options = ["--tier", "off_peak", "--hours", "22:00-06:00", "--from", "2026-12-01T00:00:00Z"]
    assert run(["price", "schedule", "small", *amounts, *options]) == 0
    method, path, body = api.asked[0]
    assert (method, path) == ("POST", "/v1/models/small/prices")
    assert body == {
        "tier": "off_peak",
        "price": {
            "input_micros_per_million_tokens": 10,
            "cached_input_micros_per_million_tokens": 5,
            "output_micros_per_million_tokens": 30,
        },
        "valid_from": "2026-12-01T00:00:00Z",
        "off_peak_from": "22:00",
        "off_peak_until": "06:00",
    }


def test_a_batch_price_is_ended(api: RecordingApi) -> None:
    assert run(["price", "end", "small", "batch"]) == 0
    assert api.asked == [("POST", "/v1/models/small/prices", {"tier": "batch", "price": None, "valid_from": None})]


def test_prices_are_listed_with_the_declared_one_first(api: RecordingApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "list", "small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "as declared" in lines[1]
    assert "ended" in lines[2]


@pytest.mark.parametrize("arguments", [["price", "end", "small", "standard"], ["contract", "set", "bank-a"]])
def test_what_makes_no_sense_is_refused_before_the_platform_is_asked(api: RecordingApi, arguments: list[str]) -> None:
    assert run(arguments) == 2
    assert api.asked == []


@pytest.mark.parametrize("hours", ["22:00", "-06:00", "22:00-"])
def test_hours_have_two_ends(api: RecordingApi, hours: str) -> None:
    amounts = ["--input", "10", "--cached-input", "5", "--output", "30"]
    assert run(["price", "schedule", "small", *amounts, f"--hours={hours}"]) == 2
    assert api.asked == []


@pytest.mark.parametrize(
    ("begins", "kept"),
    [(None, 500), ("2098-12-31T00:00:00Z", 500), ("2099-01-01T08:00:00+08:00", 900), ("2025-01-01T00:00:00Z", 0)],
)
def test_terms_that_are_not_given_stay_as_they_hold_at_the_beginning(
    api: RecordingApi, begins: str | None, kept: int
) -> None:
    options = [] if begins is None else ["--from", begins]
    assert run(["contract", "set", "bank-a", "--pool-weight", "3", *options]) == 0
    assert api.asked[1][2] == {
        "discount_basis_points": kept,
        "commitment_micros": 0,
        "pool_weight": 3,
        "service_weight": 1,
        "service_share_min_basis_points": 0,
        "payment": None,
        "valid_from": begins,
    }


@pytest.mark.parametrize("begins", ["tomorrow", "2026-12-01T00:00:00"])
def test_a_moment_without_a_zone_is_refused(api: RecordingApi, begins: str) -> None:
    assert run(["contract", "set", "bank-a", "--pool-weight", "3", "--from", begins]) == 2


def test_the_pools_cost_is_set_and_its_fees_are_shown(api: RecordingApi, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--amount-micros", "7", "--equal-share-basis-points", "2550"]
    assert run(["pool", "cost", "2026-11", *options]) == 0
    assert run(["pool", "fees", "2026-11"]) == 0
    body = {"amount_micros": 7, "equal_share_basis_points": 2550}
    assert api.asked == [("PUT", "/v1/pool-costs/2026-11", body), ("GET", "/v1/pool-costs/2026-11", None)]
    shown = capsys.readouterr().out
    assert "2026-11: 7 micros CNY, 25.5 % equally" in shown
    assert "bank-a" in shown
