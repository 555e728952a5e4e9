"""The turns of prompts: a bounded number of tokens at a time, the least served tenant next."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.serving.engine.prefill_turns import PrefillTurns

STEP = 100


class Engine:
    """Runs prompts in steps, and remembers whose they were and the most tokens at a time."""

    def __init__(self) -> None:
        self.turns = PrefillTurns(STEP)
        self.steps: list[str] = []
        self.tokens = self.tokens_max = 0

    async def prompt(self, tenant: str, *steps: int) -> None:
        for tokens in steps:
            await self.turns.begin(tenant, tokens)
            with self.turns.begun(tenant, tokens):
                self.steps.append(tenant)
                self.tokens += tokens
                self.tokens_max = max(self.tokens_max, self.tokens)
                await asyncio.sleep(0)
                self.tokens -= tokens


async def test_a_newcomers_prompt_is_next_however_many_prompts_wait() -> None:
    engine = Engine()
    async with asyncio.TaskGroup() as prompts:
        for _ in range(4):
            prompts.create_task(engine.prompt("C", *[STEP] * 10))
        for _ in range(20):
            await asyncio.sleep(0)
        before = len(engine.steps)
        await engine.prompt("B", 30)
        assert engine.steps[before : before + 2].count("B") == 1


async def test_two_tenants_with_long_prompts_get_every_other_step() -> None:
    engine = Engine()
    async with asyncio.TaskGroup() as prompts:
        for _ in range(3):
            prompts.create_task(engine.prompt("C", *[STEP] * 20))
        prompts.create_task(engine.prompt("B", *[STEP] * 20))
    assert Counter(engine.steps[:40])["B"] == pytest.approx(20, abs=1)


async def test_many_small_prompts_of_a_tenant_do_not_starve_anothers_long_one() -> None:
    engine = Engine()
    async with asyncio.TaskGroup() as prompts:
        for _ in range(8):
            prompts.create_task(engine.prompt("C", *[10] * 100))
        await engine.prompt("B", *[STEP] * 5)
        assert engine.steps.count("C") <= 60  # B's 500 tokens, and one step.


async def test_a_cancelled_prompt_leaves_its_turn_to_others() -> None:
    engine = Engine()
    running = asyncio.create_task(engine.prompt("C", STEP))
    left = asyncio.create_task(engine.prompt("C", STEP))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(running, left, return_exceptions=True)
    await engine.prompt("B", STEP)
    assert engine.steps == ["C", "B"]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, STEP)), max_size=40))
def test_a_step_never_holds_more_than_its_tokens_and_every_prompt_is_computed(prompts: list[tuple[str, int]]) -> None:
    async def run() -> Engine:
        engine = Engine()
        await asyncio.gather(*(engine.prompt(tenant, tokens) for tenant, tokens in prompts))
        return engine

    engine = asyncio.run(run())
    assert engine.tokens_max <= STEP
    assert Counter(engine.steps) == Counter(tenant for tenant, _ in prompts)
