"""What `finpool usage estimated` and `finpool usage correct` ask of the operator API."""

from typing import Any

import pytest

from finpool.cli import corrections as commands_corrections
from finpool.cli.main import run
from finpool.client.api import ApiClient

CORRECT = [
    "usage",
    "correct",
    "bank-a",
    "req_1",
    "--input-tokens",
    "10",
    "--output-tokens",
    "40",
    "--reason",
    "its log",
]


class RecordingApi(ApiClient):
    """An operator API that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "fpo_token")
        self.asked: list[tuple[str, str, Any]] = []

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self.asked.append((method, path.partition("?")[0], body))
        return {"id": "req_1", "data": [], "has_more": False}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> RecordingApi:
    recording = RecordingApi()
    monkeypatch.setattr(commands_corrections, "operator_api", lambda: recording)
    return recording


def test_a_correction_says_what_was_truly_used_and_why(api: RecordingApi) -> None:
    assert run([*CORRECT, "--cached-input-tokens", "4"]) == 0
    body = {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 40, "reason": "its log"}
    assert api.asked == [("POST", "/v1/tenants/bank-a/usage/req_1/corrections", body)]


def test_a_correction_without_a_reason_is_wrong_usage(api: RecordingApi) -> None:
    assert run(CORRECT[:-2]) == 2
    assert run([*CORRECT, "--output-tokens", "-1"]) == 2
    assert api.asked == []


def test_what_was_estimated_is_listed(api: RecordingApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usage", "estimated", "bank-a"]) == 0
    assert [(method, path) for method, path, _ in api.asked] == [("GET", "/v1/tenants/bank-a/estimated-usage")]
    assert capsys.readouterr().out == "Nothing was estimated.\n"
