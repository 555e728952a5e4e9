"""Tokenize a prompt exactly only if its byte bound exceeds the quota."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from finpool.gateway.call.admission import Admitted
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import TenantId
from finpool.quota.errors import InsufficientQuota, RateLimitExceeded, RequestAboveLimit
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed, EngineUnavailable, ModelCold
from finpool.serving.schemas import GENERATING

COUNTS_MAX = 2
"""Prompts of one tenant that are counted at a time: a count costs the engine work and the tenant nothing."""

COUNTED_BYTES_OF_A_TOKEN = 8
"""A prompt with more bytes than this for each token of the context is not counted.

It would hardly fit, and a megabyte of control tokens took an engine eleven seconds.
"""

PAUSE_SECONDS = 1.0
"""The pause of a tenant's counts after a counted prompt that did not fit either."""

Refusal = InsufficientQuota | RateLimitExceeded | RequestAboveLimit


class PromptCounter:
    """The counts of prompts by the models' own tokenizers; one instance per process."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._under_way: Counter[TenantId] = Counter()
        self._pauses_until: dict[TenantId, float] = {}

    async def counted(self, admitted: Admitted, refusal: Refusal) -> Admitted | None:
        """Return the request with its exact prompt tokens, or None if no count is possible or it would not help."""
        tenant_id = admitted.actor.tenant
        if admitted.operation not in GENERATING:
            return None  # An exact count of these inputs would cost most of the computation itself.
        if _is_hopeless(admitted, refusal) or not self._may_count(tenant_id) or _is_too_long(admitted):
            return None
        self._under_way[tenant_id] += 1
        try:
            count = await self._backends.count_input_tokens(
                admitted.model, admitted.engine_body, admitted.request_id, load_ms=admitted.load_ms
            )
        except ModelCold:
            raise  # The engine is being started; whether the request fits is known after that.
        except (EngineUnavailable, EngineFailed):
            return None
        finally:
            self._under_way[tenant_id] -= 1
        counted = admitted.with_input_tokens(count)
        return counted if counted.tokens < admitted.tokens else None

    @contextmanager
    def pause_if_refused(self, tenant_id: TenantId) -> Iterator[None]:
        """Pause the tenant's counts if the counted request is refused within the block."""
        try:
            yield
        except DomainError:
            self._pauses_until[tenant_id] = monotonic_seconds() + PAUSE_SECONDS
            raise

    def _may_count(self, tenant_id: TenantId) -> bool:
        if monotonic_seconds() < self._pauses_until.get(tenant_id, 0.0):
            return False
        self._pauses_until.pop(tenant_id, None)
        return self._under_way[tenant_id] < COUNTS_MAX


def _is_hopeless(admitted: Admitted, refusal: Refusal) -> bool:
    """Tell whether even a prompt of one token would be refused."""
    shortest = admitted.with_input_tokens(1)
    if isinstance(refusal, InsufficientQuota):
        return shortest.amount_picos > refusal.left_picos
    return refusal.left_tokens is None or shortest.tokens > refusal.left_tokens


def _is_too_long(admitted: Admitted) -> bool:
    """Tell whether a tokenizer would take too long; only a prompt that fills the context by its bytes is measured."""
    context = admitted.model.context_tokens
    if admitted.input_tokens_bound < context:
        return False
    return len(orjson.dumps(admitted.engine_body)) > context * COUNTED_BYTES_OF_A_TOKEN
