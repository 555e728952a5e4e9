"""The usage of a client that left early: the engine computes its prompt anyway."""

import asyncio
from collections.abc import Callable

from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.logs import logger
from finpool.metering.spool.schemas import Outcome
from finpool.serving.backend.breaker import BreakerPermit
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.protocols import EngineStream

FIRST_USAGE_SECONDS_MAX = 30.0
_log = logger("gateway.first_usage")


async def first_usage(
    stream: EngineStream, permit: BreakerPermit, count: Callable[[TokenUsage], None]
) -> tuple[Outcome | None, bool]:
    """Wait for the engine's first usage and pass it to `count`; return the outcome, and whether usage is estimated.

    The outcome is None if the engine never took the request. Without an answer within 30 s the usage stays zero and is
    marked as estimated: a bank pays for no token that no engine reported.
    """
    try:
        async with asyncio.timeout(FIRST_USAGE_SECONDS_MAX):
            await stream.begun()
            async for chunks in stream:
                if chunks.usage is not None:
                    count(chunks.usage)
                    break
    except EngineRefused:
        return None, False
    except (EngineUnavailable, EngineFailed) as failure:
        permit.note(failure)
        return None if isinstance(failure, EngineUnavailable) else Outcome.FAILED, False
    except TimeoutError:
        return Outcome.ABORTED, True  # A long prompt may take longer, which is no failure of the engine.
    except Exception:  # A defect must not keep the call's slot, permit and reservation for ever.
        _log.exception("the first usage of a client that left could not be read")
        return Outcome.ABORTED, True
    return Outcome.ABORTED, False
