"""An engine lives if it gives tokens: to somebody since the last check, or to the check itself."""

from typing import Any

import pytest

from finpool.serving.counters import Counters
from finpool.serving.engine.liveness import Liveness
from finpool.serving.errors import EngineFailed


class IdleEngine:
    def __init__(self) -> None:
        self.counters = Counters()
        self.gives_tokens = True
        self.asked = 0

    async def healthy(self) -> bool:
        self.asked += 1
        return self.gives_tokens

    generate: Any = None
    complete: Any = None
    embed: Any = None
    rerank: Any = None
    count_input_tokens: Any = None


async def test_an_idle_engine_is_asked_for_a_token() -> None:
    engine = IdleEngine()
    await Liveness(engine).require()
    assert engine.asked == 1


async def test_an_engine_that_gives_no_token_does_not_live() -> None:
    engine = IdleEngine()
    engine.gives_tokens = False
    with pytest.raises(EngineFailed):
        await Liveness(engine).require()


async def test_an_engine_that_gave_others_tokens_is_not_asked_and_one_that_stops_is() -> None:
    engine = IdleEngine()
    liveness = Liveness(engine)
    engine.counters.output_tokens = 7
    engine.gives_tokens = False
    await liveness.require()
    assert engine.asked == 0
    with pytest.raises(EngineFailed):
        await liveness.require()
