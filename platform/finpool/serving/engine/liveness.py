"""The liveness check of an engine: it lives while it reads or generates tokens."""

from finpool.serving.errors import EngineFailed
from finpool.serving.protocols import Engine

CHECK_PERIOD_SECONDS = 30
CHECK_SECONDS_MAX = 60
"""A token may wait behind other prompts. Serve restarts an engine replica after three failed checks."""


class Liveness:
    """The liveness check that Serve calls periodically. An engine that counted tokens since the last call is alive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tokens = self._counted()

    async def require(self) -> None:
        """Raise `EngineFailed` if the engine counted no token since the last call and a test request gives none."""
        before, self._tokens = self._tokens, self._counted()
        if self._tokens == before and not await self._engine.healthy():
            raise EngineFailed("The engine gives no token.")

    def _counted(self) -> int:
        counters = self._engine.counters
        return counters.input_tokens + counters.output_tokens
