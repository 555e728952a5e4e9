"""The committed page of compatibility says what the code does with each field, engine by engine."""

from pathlib import Path
from typing import Any

import pytest
from chat_requests import parsed
from remote_model import remote_declaration

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.compatibility import ENGINES, page
from finpool.gateway.request.completion import CompletionRequest
from finpool.serving.backend.remote import remote_request
from finpool.serving.backend.remote_completions import remote_completion_request
from finpool.serving.engine.chat_body import HANDLED_FIELDS, SAMPLING_FIELDS
from finpool.serving.errors import EngineRefused

PAGE = Path(__file__).parents[4] / "docs" / "compatibility.md"
VALUES: dict[str, Any] = {"top_k": 5, "min_p": 0.5, "repetition_penalty": 1.5, "ignore_eos": True, "seed": 5, "n": 1}


def rows(heading: str) -> dict[str, dict[str, str]]:
    """Return the treatments in a table of the page, by field and engine."""
    table = page().split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {name.strip("`"): dict(zip(ENGINES, treatments, strict=False)) for name, *treatments in cells}


CHAT = rows("`POST /v1/chat/completions`")


def test_the_committed_page_is_the_one_that_the_code_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "a field changed; if that is meant, run `make compatibility`"


def test_every_field_of_every_request_is_on_the_page() -> None:
    assert ChatRequest.model_fields.keys() <= CHAT.keys()
    roles = ("system", "developer", "user", "assistant", "tool", "function")
    assert all("role" in rows(f"Messages of role `{role}`") for role in roles)
    assert CompletionRequest.model_fields.keys() <= rows("`POST /v1/completions`").keys()
    assert {"input", "dimensions"} <= rows("`POST /v1/embeddings`").keys()
    assert {"query", "documents[].text"} <= rows("`POST /rerank`, `/v1/rerank`, `/v2/rerank`").keys()


def test_the_engines_of_the_pool_know_every_field_that_is_served() -> None:
    for name, treatments in CHAT.items():
        if name in ChatRequest.model_fields and not ChatRequest.model_fields[name].exclude:
            served = treatments["llama.cpp"].startswith("served")
            assert served is treatments["vLLM"].startswith("served")
            assert served is (name in SAMPLING_FIELDS | HANDLED_FIELDS), name


@pytest.mark.parametrize("name", VALUES)
def test_a_remote_engine_takes_what_the_page_says(name: str) -> None:
    body = parsed(**{name: VALUES[name]}).engine_body(7)
    plain = OpenAiEngine.model_validate(remote_declaration("http://127.0.0.1:1")["engine"])
    if CHAT[name]["remote"] == "served":
        assert remote_request(body, plain)[name] == VALUES[name]
        return
    assert CHAT[name]["remote"] == "declared"
    with pytest.raises(EngineRefused):
        remote_request(body, plain)
    declaring = plain.model_copy(update={"extensions": frozenset({name})})
    assert remote_request(body, declaring)[name] == VALUES[name]


@pytest.mark.parametrize("name", VALUES)
def test_a_remote_engine_takes_the_same_fields_of_a_text_completion(name: str) -> None:
    table = rows("`POST /v1/completions`")
    request = CompletionRequest.model_validate({"model": "m", "prompt": "x", name: VALUES[name]})
    plain = OpenAiEngine.model_validate(remote_declaration("http://127.0.0.1:1")["engine"])
    if table[name]["remote"] == "served":
        assert remote_completion_request(request.engine_body(7), plain)[name] == VALUES[name]
        return
    with pytest.raises(EngineRefused):
        remote_completion_request(request.engine_body(7), plain)
    declaring = plain.model_copy(update={"extensions": frozenset({name})})
    assert remote_completion_request(request.engine_body(7), declaring)[name] == VALUES[name]
