"""An intent as the gateway writes it."""

import pytest
from sample_intent import INTENT

from finpool.metering.spool.schemas import Intent


@pytest.fixture
def intent() -> Intent:
    return INTENT
