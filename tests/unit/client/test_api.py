"""The API client says what the platform said, and tells an unreachable platform from one that refuses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finpool.client.api import ApiClient, segment
from finpool.client.errors import CliError, Refused, Unreachable


class _Door(BaseHTTPRequestHandler):
    """Answers as the path says, and repeats the sent body."""

    def do_GET(self) -> None:
        if self.path == "/refused":
            self._answer(404, {"error": {"message": "There is none.", "type": "t", "param": None, "code": "not_found"}})
        elif self.path == "/odd":
            self._answer(502, None)
        elif self.path == "/text":
            self._answer(200, None)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/echo")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/list"):
            after = int(self.path.partition("after=")[2] or 0)
            page = {"data": [{"id": after + 1}], "last_id": after + 1, "has_more": after < 2}
            self._answer(200, page)
        else:
            self._answer(200, {"path": self.path, "authorization": self.headers["Authorization"]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201, {"sent": body})

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _answer(self, status: int, document: dict[str, Any] | None) -> None:
        body = b"<html>" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api() -> Iterator[ApiClient]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield ApiClient(f"http://127.0.0.1:{server.server_port}/", "the-token")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_call_carries_token_query_and_body(api: ApiClient) -> None:
    assert api.get("/echo", {"after": 3, "left_out": None}) == {
        "path": "/echo?after=3",
        "authorization": "Bearer the-token",
    }
    assert api.post("/echo", {"name": "银行"}) == {"sent": {"name": "银行"}}


def test_a_list_is_read_to_its_end(api: ApiClient) -> None:
    assert api.list("/list") == [{"id": 1}, {"id": 2}, {"id": 3}]


def test_a_refusal_carries_the_platforms_own_words(api: ApiClient) -> None:
    with pytest.raises(Refused, match=r"There is none\.") as caught:
        api.get("/refused")
    assert (caught.value.status, caught.value.code, caught.value.exit_code) == (404, "not_found", 1)


def test_a_refusal_in_another_shape_is_still_a_refusal(api: ApiClient) -> None:
    with pytest.raises(Refused) as caught:
        api.get("/odd")
    assert (caught.value.status, caught.value.code) == (502, "http_502")


def test_an_answer_that_is_not_json_is_an_error(api: ApiClient) -> None:
    with pytest.raises(CliError, match="not JSON"):
        api.get("/text")


def test_a_redirect_is_not_followed_with_the_credential(api: ApiClient) -> None:
    with pytest.raises(Refused) as caught:
        api.get("/moved")
    assert caught.value.status == 302


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert ApiClient(api.base_url, "t").get("/echo")["authorization"] == "Bearer t"


def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(Unreachable) as caught:
        ApiClient("http://127.0.0.1:1", "t").get("/v1/tenants")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://example.org", "file:///etc/passwd"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(CliError, match="not an http or https URL"):
        ApiClient(url, "t")


def test_what_a_user_types_stays_one_segment_of_the_path() -> None:
    assert segment("../keys?x=1") == "..%2Fkeys%3Fx%3D1"
