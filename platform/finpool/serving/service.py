"""The gateway's side of the engines: one HTTP stream to a backend per request."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import orjson

from finpool.catalogue.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import EngineStream
from finpool.serving.stream import ChunkStream

CONNECTIONS_MAX = 4096
"""Connections of one process to its backends; the fair queue bounds requests well below it."""

ERROR_BODY_BYTES_MAX = 65_536
STREAM_OPTIONS = {"include_usage": True, "continuous_usage_stats": True}
STATUSES_BEFORE_DISPATCH = frozenset({404, 429, 502, 503, 504})
"""What Serve's proxy answers while an application is missing, starting or full."""


class Backends:
    """Where models are served. One instance per process; it owns the process's connections to engines."""

    def __init__(self, settings: Settings) -> None:
        self._base_url = settings.serve_base_url
        self._start_timeout_seconds = settings.engine_start_timeout_seconds
        self._read_timeout_seconds = settings.engine_read_timeout_seconds
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Read the engine token and open the session; raise `ConfigurationError` without a token."""
        token = self._settings.secret("engine_token").decode()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_MAX),
            headers={"authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=None),
            # An environment's proxy must never see what goes from the gateway to an engine.
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection; requests that are still running are aborted."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def chat(
        self, model: Model, body: Mapping[str, Any], request_id: RequestId
    ) -> AbstractAsyncContextManager[EngineStream]:
        """Send a chat completion to the engine of `model` and yield its chunks.

        `body` is OpenAI's request, already validated. Entering raises `EngineRefused`, `EngineUnavailable` or
        `EngineFailed` if the engine does not begin to answer; iterating raises `EngineFailed` if it breaks off.
        Leaving early closes the connection, and the engine stops generating.
        """
        payload = {**body, "model": model.id, "stream": True, "stream_options": STREAM_OPTIONS}
        return self._stream(self._url(model, "/v1/chat/completions"), orjson.dumps(payload), request_id)

    async def count_input_tokens(self, model: Model, body: Mapping[str, Any], request_id: RequestId) -> int:
        """Return exactly how many input tokens `body` is, by the model's own tokenizer.

        Raises `EngineRefused`, `EngineUnavailable` or `EngineFailed`. Costs the engine some milliseconds.
        """
        payload = orjson.dumps({**body, "model": model.id})
        response = await self._send(self._url(model, "/tokenize"), payload, request_id)
        try:
            if response.status != 200:
                raise await _refusal(response)
            return int(orjson.loads(await response.read())["count"])
        except (ValueError, LookupError, TypeError, aiohttp.ClientError) as error:
            raise EngineFailed("The model could not count the tokens of the request.") from error
        finally:
            response.close()

    async def ready(self, model: Model) -> bool:
        """Tell whether the engine of `model` generates tokens now; it may take as long as an engine may start."""
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                async with self._open_session.get(self._url(model, "/health")) as response:
                    return response.status == 200
        except (TimeoutError, aiohttp.ClientError):
            return False

    @property
    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the backends were used before start() or after close()")
        return self._session

    def _url(self, model: Model, path: str) -> str:
        return f"{self._base_url}/engines/{model.id}{path}"

    @asynccontextmanager
    async def _stream(self, url: str, payload: bytes, request_id: RequestId) -> AsyncIterator[EngineStream]:
        response = await self._send(url, payload, request_id)
        try:
            if response.status != 200:
                raise await _refusal(response)
            yield ChunkStream(response.content, self._read_timeout_seconds)
        finally:
            # A response that was read to its end has given its connection back already, and this does nothing.
            response.close()

    async def _send(self, url: str, payload: bytes, request_id: RequestId) -> aiohttp.ClientResponse:
        """Return the response once its status is known."""
        headers = {"content-type": "application/json", "x-request-id": request_id}
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                return await self._open_session.post(url, data=payload, headers=headers, allow_redirects=False)
        except TimeoutError as error:
            raise EngineUnavailable("The model did not begin to answer in time.") from error
        except aiohttp.ClientConnectorError as error:
            raise EngineUnavailable("The model cannot be reached at the moment.") from error
        except aiohttp.ClientError as error:  # It was reached, and may have computed something before it broke.
            raise EngineFailed("The connection to the model broke.") from error


async def _refusal(response: aiohttp.ClientResponse) -> EngineRefused | EngineUnavailable | EngineFailed:
    """Return the error that stands for an answer other than 200.

    Engines report in JSON. What is not JSON comes from Serve's proxy, which says 500 also where it found no engine.
    """
    if response.status in STATUSES_BEFORE_DISPATCH or response.content_type != "application/json":
        return EngineUnavailable("The model is not available at the moment.")
    try:
        reported = orjson.loads(await response.content.read(ERROR_BODY_BYTES_MAX))["error"]
        message, code, param = str(reported["message"]), reported.get("code"), reported.get("param")
    except (ValueError, LookupError, TypeError, AttributeError, aiohttp.ClientError):
        return EngineFailed("The model failed to answer.")
    if response.status == 400:
        return EngineRefused(message, code=code, param=param)
    return EngineFailed("The model failed to answer.")
