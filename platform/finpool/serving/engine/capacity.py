"""The request limits of an engine. Beyond them it answers 503 at once, because only the gateway queues fairly."""

from finpool.catalogue.model.engine import OpenAiEngine, PoolEngine

ONGOING_PER_SLOT = 4
QUEUED_PER_SLOT = 4


def requests_ongoing_max(engine: PoolEngine | OpenAiEngine) -> int:
    """Return the number of requests that an engine replica accepts at once; no slot then waits for the gateway."""
    return ONGOING_PER_SLOT * engine.slots


def requests_queued_max(engine: PoolEngine | OpenAiEngine) -> int:
    """Return the number of further requests that may wait; with no or one engine replica it holds a gateway's burst."""
    return max(QUEUED_PER_SLOT, engine.replicas_max) * engine.slots
