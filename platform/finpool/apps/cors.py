"""Cross-origin requests of browsers: from the configured origins, and from none by default.

Callers send their key in a header and never a cookie, so no answer allows credentials and no origin is `*`.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from finpool.kernel.answer_headers import (
    ALWAYS_WITH_A_MODELS_ANSWER,
    BUDGET,
    CHALLENGE,
    RATE_LIMITS,
    REPLAYED,
    REQUEST_ID,
    RETRY_AFTER,
    SHOULD_RETRY,
)
from finpool.kernel.door.door import Door
from finpool.kernel.errors import InvalidRequest
from finpool.kernel.ids import new_id

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
HEADERS = ("Authorization", "OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta", "Idempotency-Key", "X-Request-ID")
CLIENT_PREFIX = "x-stainless-"
"""OpenAI's clients describe themselves in headers with this prefix, and each version adds some."""

EXPOSED = (
    REQUEST_ID,
    *RETRY_AFTER,
    SHOULD_RETRY,
    CHALLENGE,
    REPLAYED,
    *ALWAYS_WITH_A_MODELS_ANSWER,
    *RATE_LIMITS,
    *BUDGET,
)
PREFLIGHT_SECONDS = 600


def allow_origins(app: Door, origins: Sequence[str]) -> None:
    """Answer cross-origin requests of these origins, errors and preflights included; add nothing without one."""
    if origins:
        app.cross_origin = True
        app.add_middleware(
            DoorCors,
            allow_origins=tuple(origins),
            allow_methods=METHODS,
            allow_headers=HEADERS,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_SECONDS,
        )


class DoorCors(CORSMiddleware):
    """Starlette's middleware, with every header of OpenAI's clients, and with the platform's shape of errors.

    It stands in front of the ingress, so it answers a preflight without a key and gives its own request id.
    """

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight; a refusal names no origin that would be allowed."""
        asked = request_headers.get("access-control-request-headers", "").split(",")
        of_client = [name for name in (each.strip().lower() for each in asked) if name.startswith(CLIENT_PREFIX)]
        rest = ", ".join(each.strip() for each in asked if each.strip().lower() not in of_client)
        without = [(name, value) for name, value in request_headers.raw if name != b"access-control-request-headers"]
        kept = [(b"access-control-request-headers", rest.encode("latin-1"))] if rest else []
        answer = super().preflight_response(Headers(raw=[*without, *kept]))
        if answer.status_code >= 400:
            allowed = "The list of origins is FINPOOL_CORS_ORIGINS of this door."
            refusal = InvalidRequest(
                f"This cross-origin request is not allowed: {bytes(answer.body).decode()}. {allowed}"
            )
            headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
            answer = JSONResponse(refusal.body(), status_code=answer.status_code, headers=headers)
        elif of_client:
            answer.headers["access-control-allow-headers"] += ", " + ", ".join(of_client)
        answer.headers[REQUEST_ID] = new_id("req")
        return answer
