"""`finpool model show` shows one model as the operators' door knows it."""

import json
from typing import Any

import pytest

from finpool.cli import views
from finpool.cli.main import run
from finpool.client.api import ApiClient

MODEL = {
    "object": "model",
    "id": "small",
    "capabilities": ["json_schema", "tools"],
    "context_tokens": 2048,
    "output_tokens_default": 256,
    "output_tokens_max": 1024,
    "price": {"currency": "CNY"},
}


class OneModelApi(ApiClient):
    """An operator API with one model."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "fpo_token")

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        return {"object": "list", "data": [MODEL]}


@pytest.fixture(autouse=True)
def one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "operator_api", OneModelApi)


def test_a_model_is_shown_with_its_capabilities_and_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "show", "small"]) == 0
    fields = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert fields["capabilities"] == "json_schema, tools"
    assert (fields["output_tokens_default"], fields["price.currency"]) == ("256", "CNY")
    assert run(["model", "show", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == MODEL


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "show", "large"]) == 1
    assert "'large'" in capsys.readouterr().err
