"""The life of one admitted request, step by step: the one function that every route to a model goes through.

The steps are those of `docs/architecture.md`. Steps 1 and 2, authenticate and admit, come before it in `routes.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.call.call import Call
from finpool.gateway.errors import IdempotentAnswerTooLarge
from finpool.kernel.errors import DomainError
from finpool.metering.spool.schemas import Outcome
from finpool.quota.schemas import RateStatus

Rates = Callable[[], Mapping[str, RateStatus]]
"""Reads the rests of the tenant's rates; only a writer that sends headers calls it."""


class AnswerWriter(Protocol):
    """Writes an answer's bytes to its client, in this order: begin, stream, complete or break off, end."""

    async def begin(self, rates: Rates) -> None:
        """Send the headers of a streamed answer."""

    async def stream(self, call: Call) -> None:
        """Read the engine's chunks until their end, and send or keep them; raises as `Call.chunks`."""

    def complete(self, usage: TokenUsage) -> None:
        """Prepare the end of a finished answer; raises `EngineFailed` if a part is missing."""

    def break_off(self, error: DomainError) -> None:
        """Prepare the end of a failed answer; raises `error` again if no byte was sent yet."""

    async def end(self, rates: Rates) -> None:
        """Send the end of the answer, the whole body included if nothing was streamed."""


async def serve(call: Call, answer: AnswerWriter, keep: Callable[[], Awaitable[None]] | None = None) -> None:
    """Serve one admitted request; raises the error of a refusal while no byte has been sent.

    With an `Idempotency-Key`, `keep` stores the complete answer before it is settled and before its last byte leaves.

    Leaving the block resolves the call exactly once. After a cancellation or an error it settles the tokens that the
    engine computed, or takes the intent back if the engine computed none.
    """
    async with call:
        call.pass_breaker()
        await call.reserve()  # 3
        await call.record_intent()  # 4
        await call.wait_for_turn()  # 5
        await call.dispatch()  # 6
        await answer.begin(call.rates)
        try:
            await answer.stream(call)  # 7
            answer.complete(call.usage)
            if keep is not None:
                await call.mark()  # A crash after `keep` then bills all of the kept answer.
                await keep()
            await call.settle(Outcome.COMPLETED)  # 8: durable before the last byte is sent
        except DomainError as error:
            answer.break_off(error)
            # The client has got a stream that outgrew its bound, and pays as one that leaves.
            outgrown = isinstance(error, IdempotentAnswerTooLarge)
            await call.settle(Outcome.ABORTED if outgrown else Outcome.FAILED)
        await answer.end(call.rates)
