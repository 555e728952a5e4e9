"""Whether an engine lives: it does if it takes or gives tokens, whatever its process says."""

from finpool.serving.engine.routes import Engine
from finpool.serving.errors import EngineFailed

CHECK_PERIOD_SECONDS = 30
CHECK_SECONDS_MAX = 60
"""A token may have to wait behind others' prompts. Serve starts a replica anew after three checks that fail."""


class Liveness:
    """Asked by Serve time and again. An engine that worked on tokens since the last time need not be asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tokens = self._counted()

    async def require(self) -> None:
        """Raise `EngineFailed` if the engine gives no token."""
        before, self._tokens = self._tokens, self._counted()
        if self._tokens == before and not await self._engine.healthy():
            raise EngineFailed("The engine gives no token.")

    def _counted(self) -> int:
        counters = self._engine.counters
        return counters.input_tokens + counters.output_tokens
