"""The gateway's connections to the engines: one HTTP call to a backend per request."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import ModelId, RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.breaker import Breaker, Breakers
from finpool.serving.backend.headers import headers_beside, when_cold
from finpool.serving.backend.reading import is_cold, read_body, refusal, status_of
from finpool.serving.backend.remote import (
    REMOTE_CHAT_PATH,
    REMOTE_MODELS_PATH,
    RemoteStream,
    estimate_of,
    remote_request,
)
from finpool.serving.backend.remote_completions import (
    REMOTE_COMPLETION_PATH,
    RemoteTextStream,
    completion_estimate_of,
    remote_completion_request,
)
from finpool.serving.backend.remote_vectors import REMOTE_VECTOR_PATHS, RemoteResults, remote_vector_request
from finpool.serving.backend.retry_budget import RetryBudget
from finpool.serving.backend.stream import ChunkStream
from finpool.serving.errors import EngineFailed, EngineUnavailable, ModelCold
from finpool.serving.protocols import EngineStream
from finpool.serving.schemas import ADAPTER_FIELD, ENGINE_PATHS, GENERATING, Operation
from finpool.serving.transport.connection import HttpCall
from finpool.serving.transport.connections import Connections

RETRY_SECONDS = 0.05
STREAM_OPTIONS = {"include_usage": True, "continuous_usage_stats": True}


class Backends:
    """The backends of all models. Each process has one instance, which owns its connections to engines."""

    def __init__(self, settings: Settings, models: Iterable[Model] = ()) -> None:
        """Take the settings and the catalogue's models; each remote engine gets connections of its own."""
        self._start_timeout_seconds = settings.engine_start_timeout_seconds
        self._read_timeout_seconds = settings.engine_read_timeout_seconds
        self._settings = settings
        self._models = tuple(models)
        self._connections: Connections | None = None
        self._remotes: dict[ModelId, Connections] = {}
        self.breakers = Breakers(settings.engine_failures_max, settings.engine_open_seconds)
        self._retries: defaultdict[str, RetryBudget] = defaultdict(RetryBudget)

    async def start(self) -> None:
        """Read the engine token and the keys of remote engines; raise `ConfigurationError` for a missing one or a bad
        address.

        Each secret is sent over its own connections only: no remote engine gets the engine token or another engine's
        key.
        """
        token = self._settings.secret("engine_token").decode()
        for model in self._models:
            if isinstance(model.engine, OpenAiEngine):
                key = self._settings.secret(model.engine.secret).decode()
                self._remotes[model.id] = Connections(model.engine.base_url, key)
        self._connections = Connections(self._settings.serve_base_url, token)

    async def close(self) -> None:
        """Close every connection; running requests are aborted."""
        if self._connections is not None:
            self._connections.close()
            self._connections = None
        for remote in self._remotes.values():
            remote.close()
        self._remotes.clear()

    def breaker(self, model: Model) -> Breaker:
        """Return the breaker of the model's engine; its adapters share it."""
        return self.breakers.before(model.engine_key)

    async def ask(
        self,
        operation: Operation,
        model: Model,
        body: Mapping[str, Any],
        request_id: RequestId,
        *,
        expected_service: int = 0,
        load_ms: int | None = None,
    ) -> EngineStream:
        """Send a request to the model's engine and return its stream, which has not begun yet.

        `body` is OpenAI's request, already validated. Raises `EngineUnavailable` if the engine cannot be reached; then,
        and on cancellation, nothing was sent. The caller must close the stream; closing it early makes the engine stop
        computing. A `ModelCold` refusal says to retry after `load_ms`. The pool scales an engine by the
        `expected_service` of its requests.
        """
        if isinstance(model.engine, OpenAiEngine):
            return await self._ask_remote(operation, model, model.engine, body, request_id)
        options = {"stream": True, "stream_options": STREAM_OPTIONS} if operation in GENERATING else {}
        payload = orjson.dumps({**body, **_target(model), **options})
        path = model.engine_path + ENGINE_PATHS[operation]
        return ChunkStream(
            await self._send(model, path, payload, request_id, expected_service),
            weights_sha256=model.weights_sha256,
            begin_seconds_max=self._start_timeout_seconds,
            read_seconds_max=self._read_timeout_seconds,
            load_ms=load_ms,
        )

    async def count_input_tokens(
        self, model: Model, body: Mapping[str, Any], request_id: RequestId, *, load_ms: int | None = None
    ) -> int:
        """Return the exact number of input tokens of `body`, from the model's own tokenizer in the engine.

        Raises `EngineRefused`, `EngineUnavailable` or `EngineFailed`. The call costs the engine some milliseconds.
        OpenAI's API has no tokenizer, so a remote engine raises `EngineUnavailable`.
        """
        if isinstance(model.engine, OpenAiEngine):
            raise EngineUnavailable("The model's tokenizer is out of reach.")
        payload = orjson.dumps({**body, **_target(model)})
        call = await self._send(model, model.engine_path + "/tokenize", payload, request_id)
        try:
            status, answer = await status_of(call, self._start_timeout_seconds), bytearray()
            await read_body(call, answer, self._read_timeout_seconds)
            if status != 200:
                raise refusal(status, call.content_type, bytes(answer), load_ms)
            return int(orjson.loads(answer)["count"])
        except (ValueError, LookupError, TypeError) as error:
            raise EngineFailed("The model could not count the tokens of the request.") from error
        finally:
            call.close()

    async def ready(self, model: Model) -> bool:
        """Tell whether the model's engine generates tokens now, or is cold and may be; the check does not wake it.

        The call may take as long as an engine's start. A remote engine only lists its models, because a token costs
        money.
        """
        try:
            if isinstance(model.engine, OpenAiEngine):
                return (await self._get(model, REMOTE_MODELS_PATH, with_body=False))[0] == 200
            status, answer = await self._get(model, model.engine_path + "/health")
        except (EngineUnavailable, EngineFailed):
            return False
        return status == 200 or (model.engine.may_sleep and status == ModelCold.status and is_cold(answer))

    async def figures(self, model: Model, path: Literal["/usage", "/memory"]) -> dict[str, int]:
        """Return the engine's own figures from `path`; raise `EngineUnavailable` or `EngineFailed`.

        A cold engine has no figures and stays cold; the call raises `ModelCold`.
        """
        status, answer = await self._get(model, model.engine_path + path)
        if status == ModelCold.status and is_cold(answer):
            raise ModelCold
        if status != 200:
            raise EngineFailed("The engine reports no figures.")
        figures: dict[str, int] = orjson.loads(answer)
        return figures

    async def _get(self, model: Model, path: str, *, with_body: bool = True) -> tuple[int, bytes]:
        try:
            headers = "" if isinstance(model.engine, OpenAiEngine) else when_cold("leave")
            call = await self._connections_to(model).get(path, self._start_timeout_seconds, headers)
        except OSError as error:
            raise EngineUnavailable("The model cannot be reached at the moment.") from error
        try:
            status, answer = await status_of(call, self._start_timeout_seconds), bytearray()
            if with_body:
                await read_body(call, answer, self._read_timeout_seconds)
            else:
                call.finish()
            return status, bytes(answer)
        except BaseException:
            call.close()  # The caller has gone, so make the engine stop as well.
            raise

    async def _ask_remote(
        self,
        operation: Operation,
        model: Model,
        engine: OpenAiEngine,
        body: Mapping[str, Any],
        request_id: RequestId,
    ) -> EngineStream:
        if operation is Operation.CHAT:
            payload = orjson.dumps(remote_request(body, engine))
            return RemoteStream(
                await self._send(model, REMOTE_CHAT_PATH, payload, request_id),
                estimate_max=estimate_of(body, model.context_tokens),
                begin_seconds_max=self._start_timeout_seconds,
                read_seconds_max=self._read_timeout_seconds,
            )
        if operation is Operation.COMPLETE:
            payload = orjson.dumps(remote_completion_request(body, engine))
            return RemoteTextStream(
                await self._send(model, REMOTE_COMPLETION_PATH, payload, request_id),
                estimate_max=completion_estimate_of(body, model.context_tokens),
                begin_seconds_max=self._start_timeout_seconds,
                read_seconds_max=self._read_timeout_seconds,
            )
        payload = orjson.dumps(remote_vector_request(operation, body, engine))
        return RemoteResults(
            await self._send(model, REMOTE_VECTOR_PATHS[operation], payload, request_id),
            operation,
            results=len(body["input"] if operation is Operation.EMBED else body["documents"]),
            begin_seconds_max=self._start_timeout_seconds,
            read_seconds_max=self._read_timeout_seconds,
        )

    def _connections_to(self, model: Model) -> Connections:
        connections = self._remotes.get(model.id) if isinstance(model.engine, OpenAiEngine) else self._connections
        if connections is None:
            raise RuntimeError("the backends were used before start() or after close(), or for an unknown model")
        return connections

    async def _send(
        self, model: Model, path: str, payload: bytes, request_id: RequestId, expected_service: int = 0
    ) -> HttpCall:
        """Send a request; without a connection nothing was sent, so one retry is safe."""
        connections, retries = self._connections_to(model), self._retries[model.engine_key]
        headers = headers_beside(model, expected_service)
        retries.earn()
        try:
            try:
                return await connections.post(path, payload, request_id, self._start_timeout_seconds, headers)
            except TimeoutError:
                raise
            except OSError:
                if not retries.take():
                    raise
            await asyncio.sleep(RETRY_SECONDS)
            return await connections.post(path, payload, request_id, self._start_timeout_seconds, headers)
        except TimeoutError as error:
            raise EngineUnavailable("The model did not begin to answer in time.") from error
        except OSError as error:
            raise EngineUnavailable("The model cannot be reached at the moment.") from error


def _target(model: Model) -> dict[str, str]:
    """Return the fields that select the weights: an adapter goes by the SHA-256 of its content."""
    if model.base is None:
        return {"model": model.id}
    return {"model": model.base, ADAPTER_FIELD: model.weights_sha256}
