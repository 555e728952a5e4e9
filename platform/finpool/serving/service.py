"""The gateway's side of the engines: one HTTP stream to a backend per request."""

from collections.abc import Mapping
from typing import Any

import orjson

from finpool.catalogue.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.connections import Connections
from finpool.serving.errors import EngineFailed, EngineUnavailable
from finpool.serving.exchange import Exchange
from finpool.serving.reading import read_body, refusal, status_of
from finpool.serving.schemas import EngineStream
from finpool.serving.stream import ChunkStream

STREAM_OPTIONS = {"include_usage": True, "continuous_usage_stats": True}


class Backends:
    """Where models are served. One instance per process; it owns the process's connections to engines."""

    def __init__(self, settings: Settings) -> None:
        self._start_timeout_seconds = settings.engine_start_timeout_seconds
        self._read_timeout_seconds = settings.engine_read_timeout_seconds
        self._settings = settings
        self._connections: Connections | None = None

    async def start(self) -> None:
        """Read the engine token; raise `ConfigurationError` without one, or for an address that is none."""
        token = self._settings.secret("engine_token").decode()
        self._connections = Connections(self._settings.serve_base_url, token)

    async def close(self) -> None:
        """Close every connection; requests that are still running are aborted."""
        if self._connections is not None:
            self._connections.close()
            self._connections = None

    async def chat(self, model: Model, body: Mapping[str, Any], request_id: RequestId) -> EngineStream:
        """Send a chat completion to the engine of `model`; returns its answer, which has not begun yet.

        `body` is OpenAI's request, already validated. Raises `EngineUnavailable` if the engine cannot be reached: then,
        and if this is cancelled, nothing was sent. The stream has to be closed. Closing it early closes the connection,
        and the engine stops generating.
        """
        payload = orjson.dumps({**body, "model": model.id, "stream": True, "stream_options": STREAM_OPTIONS})
        return ChunkStream(
            await self._send(_path(model, "/v1/chat/completions"), payload, request_id),
            weights_sha256=model.weights_sha256,
            begin_seconds_max=self._start_timeout_seconds,
            read_seconds_max=self._read_timeout_seconds,
        )

    async def count_input_tokens(self, model: Model, body: Mapping[str, Any], request_id: RequestId) -> int:
        """Return exactly how many input tokens `body` is, by the model's own tokenizer.

        Raises `EngineRefused`, `EngineUnavailable` or `EngineFailed`. Costs the engine some milliseconds.
        """
        payload = orjson.dumps({**body, "model": model.id})
        exchange = await self._send(_path(model, "/tokenize"), payload, request_id)
        try:
            status, answer = await status_of(exchange, self._start_timeout_seconds), bytearray()
            await read_body(exchange, answer, self._read_timeout_seconds)
            if status != 200:
                raise refusal(status, exchange.content_type, bytes(answer))
            return int(orjson.loads(answer)["count"])
        except (ValueError, LookupError, TypeError) as error:
            raise EngineFailed("The model could not count the tokens of the request.") from error
        finally:
            exchange.close()

    async def ready(self, model: Model) -> bool:
        """Tell whether the engine of `model` generates tokens now; it may take as long as an engine may start."""
        try:
            exchange = await self._open_connections.get(_path(model, "/health"), self._start_timeout_seconds)
        except OSError:
            return False
        try:
            ready = await status_of(exchange, self._start_timeout_seconds) == 200
            exchange.finish()
            return ready
        except (EngineUnavailable, EngineFailed):
            return False
        finally:
            if exchange.status is None:
                exchange.close()  # Nobody waits for this answer any more, so the engine need not either.

    @property
    def _open_connections(self) -> Connections:
        if self._connections is None:
            raise RuntimeError("the backends were used before start() or after close()")
        return self._connections

    async def _send(self, path: str, payload: bytes, request_id: RequestId) -> Exchange:
        try:
            return await self._open_connections.post(path, payload, request_id, self._start_timeout_seconds)
        except TimeoutError as error:
            raise EngineUnavailable("The model did not begin to answer in time.") from error
        except OSError as error:
            raise EngineUnavailable("The model cannot be reached at the moment.") from error


def _path(model: Model, path: str) -> str:
    return f"/engines/{model.id}{path}"
