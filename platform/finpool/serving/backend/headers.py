"""What an engine of the pool is told beside a request, as header lines."""

from finpool.catalogue.model.engine import PoolEngine
from finpool.catalogue.model.schemas import Model
from finpool.serving.schemas import COLD_START_HEADER, EXPECTED_SERVICE_HEADER, ColdStart


def headers_beside(model: Model, expected_service: int) -> str:
    """Return the header lines with what an engine of ours is told beside the request; a remote one is told nothing."""
    if not isinstance(model.engine, PoolEngine):
        return ""
    refused = model.engine.may_sleep and model.engine.cold_start == "refuse"
    expected = f"{EXPECTED_SERVICE_HEADER}: {expected_service}\r\n" if expected_service else ""
    return expected + (when_cold("refuse") if refused else "")


def when_cold(wish: ColdStart) -> str:
    """Return the header line that says what is wanted of an engine that sleeps."""
    return f"{COLD_START_HEADER}: {wish}\r\n"
