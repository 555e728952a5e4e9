"""The inference path: admit, reserve, record the intent, schedule, dispatch, stream, settle."""

import asyncio
import time

from finpool.billing.contract.price_directory import PriceDirectory
from finpool.billing.contract.schemas import Quote
from finpool.billing.service_share.entitlement import Entitlement
from finpool.catalogue.errors import ModelNotFound
from finpool.catalogue.model.engine import EXPRESS_SLOTS, OpenAiEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.price.schemas import Tier
from finpool.catalogue.version.directory import VersionDirectory
from finpool.gateway.call.admission import Admitted
from finpool.gateway.call.cache_salts import CacheSalts
from finpool.gateway.call.call import Call
from finpool.gateway.call.open_calls import OpenCalls
from finpool.gateway.call.prompt_counter import PromptCounter
from finpool.gateway.errors import InvalidValue
from finpool.gateway.idempotency.service import Idempotency
from finpool.gateway.peers.sync import PeerSync
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.queue import FairQueue
from finpool.gateway.request.capabilities import require_chat, require_completion, require_vectors
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.generation import break_bytes_max
from finpool.gateway.request.vectors import VectorRequest
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import ModelId, RequestId, TenantId
from finpool.kernel.logs import logger
from finpool.kernel.settings import Settings
from finpool.metering.meter.service import Metering
from finpool.policy.service import Policy
from finpool.quota.reservation.service import Quota
from finpool.serving.backend.service import Backends
from finpool.serving.schemas import Operation

TEMPLATE_TOKENS_MAX = 256
"""Tokens that a chat template may add to a conversation: its markers and a default system message."""

TOOLS_FACTOR = 2
"""Templates may render tool schemas with more white space than the request has."""

CLOSE_SECONDS_MAX = 10.0
_log = logger("gateway.service")


class Gateway:
    """The inference path of one process, which serves models to tenants."""

    def __init__(
        self,
        settings: Settings,
        *,
        catalogue: Catalogue,
        versions: VersionDirectory,
        policy: Policy,
        prices: PriceDirectory,
        quota: Quota,
        metering: Metering,
        backends: Backends,
        peer_sync: PeerSync,
        idempotency: Idempotency,
    ) -> None:
        self.idempotency = idempotency
        self._settings = settings
        self._catalogue = catalogue
        self._versions = versions
        self._policy = policy
        self._prices = prices
        self._quota = quota
        self._metering = metering
        self._backends = backends
        self._salts = CacheSalts(settings.secret("engine_token"))
        self._counter = PromptCounter(backends)
        self._peer_sync = peer_sync
        self._queues: dict[str, FairQueue] = {}
        self._open_calls = OpenCalls()
        self.started_at = int(time.time())
        for model in catalogue.with_engines():
            self._queue(model)  # Other gateways learn of this queue before the first request.
        versions.on_change(self._leave_unrouted)

    def models(self, actor: Actor) -> list[Model]:
        """Return the models that the actor may use."""
        allowed = (self._catalogue.get(model_id) for model_id in self._policy.models_for(actor))
        return [model for model in allowed if model.open_to(actor.tenant)]

    def model(self, actor: Actor, model_id: str) -> Model:
        """Return one model; raise `ModelNotFound` for a model that the actor may not use."""
        model = self._catalogue.get(model_id)
        if not model.open_to(actor.tenant) or not self._policy.may_use(actor, ModelId(model_id)):
            raise ModelNotFound(model_id)
        return model

    def price(self, actor: Actor, model: Model) -> Quote:
        """Return the tenant's current price of standard service for a model."""
        return self._prices.quote(actor.tenant, model, Tier.STANDARD, now())

    def admit(self, actor: Actor, request: ChatRequest, body: bytes, request_id: RequestId) -> Admitted:
        """Admit the request and bound its use; raise the reason of a refusal.

        The body's bytes bound the input: a byte-level tokenizer never makes more tokens than bytes. Engines put bytes
        into control tokens, which count too. Each message's JSON is longer than its template markers, and an engine
        refuses an input that exceeds its context.
        """
        model = self._versions.version_for(self.model(actor, request.model), request_id)
        require_chat(model, request)
        output_tokens = request.output_tokens_asked or model.output_tokens_default
        _require_output(
            model, output_tokens, "max_completion_tokens" if request.max_completion_tokens else "max_tokens"
        )
        read_bytes = len(body) + break_bytes_max(body)
        input_bytes = read_bytes * (TOOLS_FACTOR if request.tools else 1) + TEMPLATE_TOKENS_MAX
        return Admitted(
            operation=Operation.CHAT,
            request_id=request_id,
            actor=actor,
            model=model,
            quote=self._prices.quote(actor.tenant, model, request.tier, now()),
            policy_version=self._policy.version(actor.tenant),
            streamed=bool(request.stream),
            engine_body={**request.engine_body(output_tokens), "cache_salt": self._salts.of(actor.tenant, model)},
            input_tokens_bound=min(input_bytes, model.context_tokens) * request.choices,
            output_tokens_bound=output_tokens * request.choices,
            load_ms=self._versions.load_ms(model),
        )

    def admit_completion(self, actor: Actor, request: CompletionRequest, request_id: RequestId) -> Admitted:
        """Admit a text completion and bound its use over all prompts; raise the reason of a refusal."""
        model = self._versions.version_for(self.model(actor, request.model), request_id)
        require_completion(model, request)
        output_tokens = request.output_tokens(model)
        _require_output(model, output_tokens, "max_tokens")
        return Admitted(
            operation=Operation.COMPLETE,
            request_id=request_id,
            actor=actor,
            model=model,
            quote=self._prices.quote(actor.tenant, model, Tier.STANDARD, now()),
            policy_version=self._policy.version(actor.tenant),
            streamed=bool(request.stream),
            engine_body={**request.engine_body(output_tokens), "cache_salt": self._salts.of(actor.tenant, model)},
            input_tokens_bound=request.input_tokens_bound(model),
            output_tokens_bound=output_tokens * request.choices * len(request.prompt),
            load_ms=self._versions.load_ms(model),
        )

    def _queue(self, model: Model) -> FairQueue:
        """Return the fair queue of the model's engine; each version has its own engine and queue."""
        queue = self._queues.get(model.engine_key)
        if queue is None:
            scheduler = FairScheduler(
                model.engine.slots * model.engine.replicas_max,
                express_max=0 if isinstance(model.engine, OpenAiEngine) else EXPRESS_SLOTS,
                prefill_bound=model.engine.prefill_bound if model.chats else None,
                entitled=self._entitled,
            )
            self._peer_sync.join(model.engine_key, scheduler)
            queue = self._queues[model.engine_key] = FairQueue(
                scheduler,
                waiting_max=self._settings.queue_requests_max,
                wait_seconds_max=self._settings.queue_timeout_seconds,
            )
        return queue

    def _leave_unrouted(self) -> None:
        """Drop the idle queues of versions without a part of the requests."""
        routed = self._versions.engine_keys()
        for key in [key for key, queue in self._queues.items() if queue.idle and key not in routed]:
            del self._queues[key]
            self._peer_sync.leave(key)

    def admit_vectors(self, actor: Actor, request: VectorRequest, request_id: RequestId) -> Admitted:
        """Admit a request for embeddings or a ranking, and bound its input; it has no output."""
        model = self._versions.version_for(self.model(actor, request.model), request_id)
        operation = require_vectors(model, request)
        return Admitted(
            operation=operation,
            request_id=request_id,
            actor=actor,
            model=model,
            quote=self._prices.quote(actor.tenant, model, Tier.STANDARD, now()),
            policy_version=self._policy.version(actor.tenant),
            streamed=False,
            engine_body={**request.engine_body(), "cache_salt": self._salts.of(actor.tenant, model)},
            input_tokens_bound=request.input_tokens_bound(model),
            output_tokens_bound=0,
        )

    def _entitled(self, tenant_id: TenantId) -> Entitlement:
        terms = self._prices.terms(tenant_id, now())
        return Entitlement(terms.service_weight, terms.service_share_min_basis_points)

    def call(self, admitted: Admitted) -> Call:
        """Return the call before it is entered."""
        return Call(
            admitted,
            quota=self._quota,
            metering=self._metering,
            queue=self._queue(admitted.model),
            backends=self._backends,
            counter=self._counter,
            open_calls=self._open_calls,
        )

    async def close(self) -> None:
        """End answers without a client, and wait until every call is recorded, for at most `CLOSE_SECONDS_MAX`.

        An unrecorded call is an intent on disk, which the next start settles at its last mark.
        """
        await self.idempotency.end_work()
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._open_calls.wait_until_none()
        except TimeoutError:
            _log.error("calls were not recorded; the next start settles them at their last mark")


def _require_output(model: Model, output_tokens: int, param: str) -> None:
    """Raise `InvalidValue` for a longer output than the model's longest one."""
    if output_tokens > model.output_tokens_max:
        raise InvalidValue(
            f"max_tokens is too large: {output_tokens}. This model generates at most {model.output_tokens_max}.",
            param=param,
        )
