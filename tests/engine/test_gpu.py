"""The platform on an accelerator: that vLLM computes there, and how fast. Elsewhere skipped, and said loudly."""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from installation import CATALOGUE_VARIABLE
from small_model import DEVICE_VARIABLE, MODEL

pytestmark = pytest.mark.gpu

QUESTION: list[Any] = [{"role": "user", "content": "Tell me everything about banks."}]
OUTPUT_TOKENS = 256
STREAMS = (1, 16, 64)


@pytest.fixture
def accelerator(record_property: Callable[[str, object], None]) -> str:
    """Return the accelerator's name; skip where there is none, or where the platform does not run on it."""
    tool = shutil.which("nvidia-smi")
    on_it = os.environ.get(DEVICE_VARIABLE) == "cuda" and CATALOGUE_VARIABLE in os.environ
    if tool is None or not on_it:
        record_property("not_done_here", "vLLM on an accelerator: run `make test-gpu` on a machine that has one")
        pytest.skip("no accelerator, or not run by `make test-gpu`")
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()[0]


async def _stream(client: openai.AsyncOpenAI) -> tuple[float, int]:
    """Return the seconds to the first token of one answer, and its tokens."""
    started, first, tokens = time.perf_counter(), 0.0, 0
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=OUTPUT_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content and not first:
            first = time.perf_counter() - started
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return first, tokens


async def test_vllm_computes_on_the_accelerator(
    accelerator: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    # Asked for here and not above, so that nothing is brought up where it is skipped.
    env = request.getfixturevalue("installation").demo_env
    async with openai.AsyncOpenAI(base_url=env["FINPOOL_BASE_URL"], api_key=env["BANK_A_KEY"], max_retries=3) as client:
        await _stream(client)
        for streams in STREAMS:
            started = time.perf_counter()
            answers = await asyncio.gather(*(_stream(client) for _ in range(streams)))
            seconds = time.perf_counter() - started
            assert all(tokens == OUTPUT_TOKENS for _, tokens in answers)
            first_ms = 1000 * statistics.median(first for first, _ in answers)
            with capsys.disabled():
                rate = sum(tokens for _, tokens in answers) / seconds
                sys.stdout.write(
                    f"\n{accelerator}: {streams} streams, {rate:.0f} tokens/s, first token {first_ms:.0f} ms"
                )
