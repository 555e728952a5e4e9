"""A small client of the platform's JSON APIs, on the standard library, because a command makes few calls."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from finpool.client.errors import CliError, Refused, Unreachable

TIMEOUT_SECONDS = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect, because it would carry the credential to another address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class ApiClient:
    """A client of one door of the platform, with one credential."""

    def __init__(self, base_url: str, credential: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urllib.parse.urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CliError(f"{base_url!r} is not an http or https URL", code="configuration")
        self.base_url = base_url.rstrip("/")
        self._credential = credential
        self._timeout_seconds = timeout_seconds
        # The environment's proxy cannot reach this machine's loopback.
        proxies = [urllib.request.ProxyHandler({})] if parts.hostname in _LOOPBACK else []
        self._opener = urllib.request.build_opener(_NoRedirects(), *proxies)

    def get(self, path: str, query: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send a GET; parameters that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._call("GET", f"{path}?{urllib.parse.urlencode(given, doseq=True)}" if given else path, None)

    def list(self, path: str, query: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """GET a list page by page and return all items; parameters that are None are left out."""
        items: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self.get(path, {**(query or {}), "after": after})
            items += page["data"]
            if not page.get("has_more"):
                return items
            after = page["last_id"]

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON body."""
        return self._call("POST", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT a JSON body."""
        return self._call("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PATCH with a JSON body."""
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE."""
        return self._call("DELETE", path, None)

    def download(self, path: str, query: Mapping[str, object]) -> bytes:
        """GET a file and return its bytes."""
        return self._send("GET", f"{path}?{urllib.parse.urlencode(query)}", None)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        content = self._send(method, path, body)
        try:
            answer: dict[str, Any] = json.loads(content or b"{}")
        except ValueError as error:
            raise CliError(f"{self.base_url} answered with something that is not JSON", code="bad_answer") from error
        return answer

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        headers = {"Authorization": f"Bearer {self._credential}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked above.
            self.base_url + path,
            method=method,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, error.read()) from None
        except urllib.error.URLError as error:
            raise Unreachable(self.base_url, str(error.reason)) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.base_url, str(error) or type(error).__name__) from error


def segment(value: str) -> str:
    """Return `value` as one segment of a path, with every special character escaped."""
    return urllib.parse.quote(value, safe="")


def _refusal(status: int, body: bytes) -> Refused:
    try:
        error = json.loads(body)["error"]
        return Refused(status, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return Refused(status, f"http_{status}", f"the platform answered with HTTP status {status}")
