"""The platform's own header lines on a request to an engine of the pool."""

from finpool.catalogue.model.engine import PoolEngine
from finpool.catalogue.model.schemas import Model
from finpool.serving.schemas import COLD_START_HEADER, EXPECTED_SERVICE_HEADER, ColdStart


def headers_beside(model: Model, expected_service: int) -> str:
    """Return the expected-service and cold-start header lines for an engine of the pool, none for a remote one."""
    if not isinstance(model.engine, PoolEngine):
        return ""
    refused = model.engine.may_sleep and model.engine.cold_start == "refuse"
    expected = f"{EXPECTED_SERVICE_HEADER}: {expected_service}\r\n" if expected_service else ""
    return expected + (when_cold("refuse") if refused else "")


def when_cold(action: ColdStart) -> str:
    """Return the header line with the action to take if the engine is cold."""
    return f"{COLD_START_HEADER}: {action}\r\n"
