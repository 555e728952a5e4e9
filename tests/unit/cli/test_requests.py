"""What commands ask of the operator API."""

from typing import Any

import pytest

from finpool.apps.cli import commands_tenancy, commands_views
from finpool.apps.cli.main import run
from finpool.apps.client.api import ApiClient


class RecordingApi(ApiClient):
    """An operator API that notes what it is asked and answers with nothing much."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "fpo_token")
        self.asked: list[tuple[str, str, Any]] = []

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self.asked.append((method, path, body))
        return {"from": 0, "to": 1, "data": []}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> RecordingApi:
    recording = RecordingApi()
    for module in (commands_tenancy, commands_views):
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
