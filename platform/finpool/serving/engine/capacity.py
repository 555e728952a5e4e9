"""How much an engine takes on. Beyond it the answer is 503 at once: fair queues are the gateway's, not the engine's."""

from finpool.catalogue.model.engine import OpenAiEngine, PoolEngine

ONGOING_PER_SLOT = 4
QUEUED_PER_SLOT = 4


def requests_ongoing_max(engine: PoolEngine | OpenAiEngine) -> int:
    """Return how many requests one replica accepts at once: enough that a slot never waits for the gateway."""
    return ONGOING_PER_SLOT * engine.slots


def requests_queued_max(engine: PoolEngine | OpenAiEngine) -> int:
    """Return how many more may wait: while there is no replica, or one only, for all that a gateway sends at once."""
    return max(QUEUED_PER_SLOT, engine.replicas_max) * engine.slots
