"""How much an engine takes on. Beyond it the answer is 503 at once: fair queues are the gateway's, not the engine's."""

from finpool.catalogue.schemas import Model

ONGOING_PER_SLOT = 4
QUEUED_PER_SLOT = 4


def requests_ongoing_max(model: Model) -> int:
    """Return how many requests one replica accepts at once: enough that a slot never waits for the gateway."""
    return ONGOING_PER_SLOT * model.engine.slots


def requests_queued_max(model: Model) -> int:
    """Return how many more may wait at the replica."""
    return QUEUED_PER_SLOT * model.engine.slots
