"""Every method of OpenAI's official client gets an answer of its type, or a refusal that a person can act on."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from official_calls import Outcome, call, call_async, table
from official_resources import A_FILE, VIEWS, Method, methods
from openai import AsyncOpenAI, OpenAI
from pooling_models import CHAT, EMBEDDING
from served_doors import ServedDoor

PAGE = Path(__file__).parents[3] / "docs" / "official-client.md"
BEGIN, END = "<!-- table -->\n", "\n<!-- end of table -->"
WRITES = os.environ.get("FINPOOL_TEST_WRITES_DOCS") == "1"

PARTICULAR: dict[str, dict[str, Any]] = {
    "embeddings.create": {"model": EMBEDDING, "encoding_format": "float"},
    "models.retrieve": {"model": EMBEDDING},
    "vector_stores.file_batches.upload_and_poll": {"files": [A_FILE]},
    "beta.agents.environments.files.upload": {"path": "/workspace/a.txt"},
}
"""Arguments of one method that its types do not tell.

The client validates embeddings before it decodes them, so its strict mode refuses its own default, base64.
"""

SHARED: dict[str, Any] = {"model": CHAT, "project_id": "credit", "start_time": 0}
"""Arguments of many methods that name something which exists."""

Outcomes = dict[str, Outcome]


def arguments_of(method: Method) -> dict[str, Any]:
    """Return the least arguments, with names of things that exist."""
    shared = {name: value for name, value in SHARED.items() if name in method.arguments}
    return {**method.arguments, **shared, **PARTICULAR.get(method.full_name, {})}


@pytest.fixture
async def official(doors: dict[str, ServedDoor]) -> AsyncIterator[OpenAI]:
    """The client of a bank, which refuses answers of another shape."""
    door = doors["inference"]
    options: dict[str, Any] = {"max_retries": 0, "_strict_response_validation": True}
    with OpenAI(base_url=f"{door.url}/v1", api_key=door.credential, admin_api_key=door.credential, **options) as client:
        yield client


def outcomes_of(client: OpenAI, view: str = "") -> Outcomes:
    """Call every method, and return the outcomes of those that the view has."""
    found = {each.full_name: call(client, each, arguments_of(each), view) for each in methods(client)}
    return {name: outcome for name, outcome in found.items() if outcome is not None}


async def test_every_method_is_served_or_refused_as_the_page_says(official: OpenAI) -> None:
    found = await asyncio.to_thread(outcomes_of, official)
    written = table((each, found[each.full_name]) for each in methods(official))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    committed, _, after = rest.partition(END)
    if WRITES:
        PAGE.write_text(f"{before}{BEGIN}{written}{END}{after}", encoding="utf-8")
        return
    assert committed == written, "run this test with FINPOOL_TEST_WRITES_DOCS=1 and read the difference"


@pytest.mark.parametrize("view", VIEWS)
async def test_raw_and_streamed_answers_have_the_same_outcomes(official: OpenAI, view: str) -> None:
    plain, seen = await asyncio.to_thread(outcomes_of, official), await asyncio.to_thread(outcomes_of, official, view)
    assert len(seen) > len(plain) * 0.9
    assert seen == {name: plain[name] for name in seen}


async def test_the_asynchronous_client_has_the_same_outcomes(official: OpenAI) -> None:
    plain = await asyncio.to_thread(outcomes_of, official)
    options: dict[str, Any] = {"max_retries": 0, "_strict_response_validation": True}
    key = official.api_key
    async with AsyncOpenAI(base_url=official.base_url, api_key=key, admin_api_key=key, **options) as client:
        for method in methods(official):
            assert await call_async(client, method, arguments_of(method)) == plain[method.full_name], method.full_name


async def test_an_unknown_resource_is_refused_with_a_reason_and_the_paths_that_exist(official: OpenAI) -> None:
    def refused() -> str:
        with pytest.raises(openai.NotFoundError) as error:
            official.images.generate(prompt="a bank")
        return str(error.value)

    message = await asyncio.to_thread(refused)
    assert "Unknown request URL: POST /v1/images/generations. It is not served: no model here makes images" in message
    assert "/v1/chat/completions" in message
