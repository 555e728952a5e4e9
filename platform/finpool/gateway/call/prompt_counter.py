"""Has prompts counted exactly when their bound does not fit, and not more often than that helps anybody."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from finpool.gateway.call.admission import Admitted
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import TenantId
from finpool.quota.errors import InsufficientQuota, RateLimitExceeded, RequestAboveLimit
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed, EngineUnavailable, ModelCold
from finpool.serving.schemas import Operation

COUNTS_MAX = 2
"""Prompts of one tenant that are counted at a time: counting costs an engine something, and the tenant nothing."""

PAUSE_SECONDS = 1.0
"""After a prompt that was counted and did not fit all the same."""

Refusal = InsufficientQuota | RateLimitExceeded | RequestAboveLimit


class PromptCounter:
    """The way to the models' own tokenizers; one a process."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._under_way: Counter[TenantId] = Counter()
        self._pauses_until: dict[TenantId, float] = {}

    async def counted(self, admitted: Admitted, refusal: Refusal) -> Admitted | None:
        """Return the request with its prompt counted, or None if that is not possible or would not help."""
        tenant_id = admitted.actor.tenant
        if admitted.operation is not Operation.CHAT:
            return None  # No engine counts these beforehand without computing most of what it costs.
        if _is_hopeless(admitted, refusal) or not self._may_count(tenant_id):
            return None
        self._under_way[tenant_id] += 1
        try:
            count = await self._backends.count_input_tokens(
                admitted.model, admitted.engine_body, admitted.request_id, load_ms=admitted.load_ms
            )
        except ModelCold:
            raise  # Whether the request fits can be told as soon as the model is awake, which it is now being made.
        except (EngineUnavailable, EngineFailed):
            return None
        finally:
            self._under_way[tenant_id] -= 1
        counted = admitted.with_input_tokens(count)
        return counted if counted.tokens < admitted.tokens else None

    @contextmanager
    def pause_if_refused(self, tenant_id: TenantId) -> Iterator[None]:
        """Count nothing for a while if what was counted is refused within the block."""
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
    """Tell whether even the shortest prompt would be refused."""
    shortest = admitted.with_input_tokens(1)
    if isinstance(refusal, InsufficientQuota):
        return shortest.amount_picos > refusal.left_picos
    return refusal.left_tokens is None or shortest.tokens > refusal.left_tokens
