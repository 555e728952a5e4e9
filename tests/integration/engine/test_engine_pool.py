"""The real thing: apps/pool with Ray Serve, its HAProxy and a real model, from outside."""

import json
import os
import socket
import stat
from contextlib import closing
from ipaddress import ip_address
from typing import Any

import aiohttp
import grpc
import psutil
import pytest

from finpool.catalogue.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.serving.environment import pool_directory, ray_directory
from finpool.serving.errors import EngineRefused
from finpool.serving.schemas import EngineChunks, Operation
from finpool.serving.service import Backends

_KINDS = ("", "Streaming", "WithRejection", "WithRejectionStreaming")
SERVE_INTERNAL_METHODS = tuple(f"HandleRequest{kind}" for kind in _KINDS)
QUESTION = [{"role": "user", "content": "Tell me about Paris."}]


async def ask(backends: Backends, model: Model, **fields: Any) -> list[EngineChunks]:
    body = {"messages": QUESTION, "max_tokens": 24, **fields}
    with closing(await backends.ask(Operation.CHAT, model, body, RequestId("req_test"))) as stream:
        await stream.begun()
        return [chunks async for chunks in stream if chunks.choices or chunks.usage]


def choices_of(chunks: list[EngineChunks]) -> list[dict[str, Any]]:
    return [choice for each in chunks for choices in each.choices for choice in choices]


def text_of(chunks: list[EngineChunks], index: int = 0) -> str:
    return "".join(each["delta"].get("content") or "" for each in choices_of(chunks) if each["index"] == index)


def finish_reasons(chunks: list[EngineChunks]) -> list[str]:
    return [choice["finish_reason"] for choice in choices_of(chunks) if choice["finish_reason"]]


async def status_of(url: str, method: str = "GET") -> int:
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        return answer.status


async def test_an_answer_is_real_text_with_usage_that_grows_to_the_engines_own_count(
    pool: Any, backends: Backends, model: Model
) -> None:
    before = await pool.usage()
    chunks = await ask(backends, model, ignore_eos=True)
    after, running = await pool.usage(), [each.usage for each in chunks]
    assert text_of(chunks).strip()
    assert finish_reasons(chunks) == ["length"]
    assert all(usage is not None for usage in running)
    counts = [usage.output_tokens for usage in running if usage is not None]
    assert counts == sorted(counts)
    assert counts[0] < counts[len(counts) // 2] < counts[-1] == 24
    final = running[-1]
    assert final is not None
    assert (final.input_tokens > 0, final.cached_input_tokens) == (True, 0)
    assert after["input_tokens"] - before["input_tokens"] == final.input_tokens
    assert after["output_tokens"] - before["output_tokens"] == final.output_tokens
    assert after["requests"] - before["requests"] == 1
    each = await pool.chunks(model=model.id, messages=QUESTION, max_tokens=24, ignore_eos=True)
    written = [chunk["usage"]["completion_tokens"] for chunk in each]
    assert (written[0], written[-2:], each[-1]["choices"]) == (0, [24, 24], [])


async def test_the_same_prompt_again_is_computed_again(backends: Backends, model: Model) -> None:
    first, second = await ask(backends, model, seed=1), await ask(backends, model, seed=1)
    assert first[-1].usage == second[-1].usage
    assert text_of(first) == text_of(second)


@pytest.mark.parametrize("text", ["Tell me about Paris.", "贷款利率是多少？ 🏦 <|im_end|> two"])
async def test_the_tokenizer_counts_what_the_engine_will_report(backends: Backends, model: Model, text: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    count = await backends.count_input_tokens(model, {"messages": messages}, RequestId("req_count"))
    usage = (await ask(backends, model, messages=messages, max_tokens=1))[-1].usage
    assert usage is not None
    assert count == usage.input_tokens


async def test_a_caller_that_leaves_stops_the_generation(pool: Any, backends: Backends, model: Model) -> None:
    before = await pool.usage()
    body = {"messages": QUESTION, "max_tokens": 1000, "ignore_eos": True}
    with closing(await backends.ask(Operation.CHAT, model, body, RequestId("req_test"))) as stream:
        await stream.begun()
        async for chunks in stream:
            if chunks.usage is not None and chunks.usage.output_tokens >= 3:
                break
    stopped = await pool.settled_usage()
    # The engine is idle now: a whole new answer adds its own tokens to the count and no others.
    answer = await ask(backends, model)
    final = answer[-1].usage
    assert final is not None
    after = await pool.usage()
    assert after["aborted"] == before["aborted"] + 1
    assert after["output_tokens"] == stopped["output_tokens"] + final.output_tokens
    assert stopped["output_tokens"] - before["output_tokens"] < 900


async def test_two_choices_share_their_prompt_and_add_up(pool: Any, backends: Backends, model: Model) -> None:
    one = await ask(backends, model, ignore_eos=True)
    two = await ask(backends, model, ignore_eos=True, n=2)
    assert one[-1].usage is not None and two[-1].usage is not None  # noqa: PT018 - for the types.
    assert (two[-1].usage.input_tokens, two[-1].usage.output_tokens) == (one[-1].usage.input_tokens, 48)
    assert text_of(two, 0).strip()
    assert text_of(two, 1).strip()
    assert finish_reasons(two) == ["length", "length"]


async def test_an_answer_follows_its_schema(backends: Backends, model: Model) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}}
    # Greedily: the grammar allows white space, and a small model that draws lots may go on with it to the end.
    answer = text_of(await ask(backends, model, response_format=response_format, max_tokens=64, temperature=0))
    assert json.loads(answer)["city"] in {"Paris", "Rome"}


async def test_a_schema_that_the_engine_cannot_use_is_refused_in_our_words(
    pool: Any, backends: Backends, model: Model
) -> None:
    before = await pool.usage()
    json_schema = {"name": "x", "strict": True, "schema": {"type": "nonsense"}}
    for response_format in (
        {"type": "json_schema", "json_schema": json_schema},
        {"type": "json_schema", "json_schema": {**json_schema, "schema": {"type": "string", "minLength": 10_000}}},
    ):
        with pytest.raises(EngineRefused) as refused:
            await ask(backends, model, response_format=response_format)
        assert refused.value.message == "The model's engine cannot use this response_format."
        assert refused.value.param == "response_format"
    after = await pool.usage()
    assert after["output_tokens"] == before["output_tokens"]


async def test_an_answer_ends_before_a_stop_string(backends: Backends, model: Model) -> None:
    whole = text_of(await ask(backends, model, seed=7, temperature=0))
    stop_at = whole.split()[3]
    chunks = await ask(backends, model, seed=7, temperature=0, stop=[stop_at])
    assert text_of(chunks) == whole[: whole.index(stop_at)]
    assert finish_reasons(chunks) == ["stop"]


async def test_a_prompt_beyond_the_context_is_refused_and_costs_nothing(
    pool: Any, backends: Backends, model: Model
) -> None:
    before = await pool.usage()
    with pytest.raises(EngineRefused) as refused:
        await ask(backends, model, messages=[{"role": "user", "content": "Say hi " * 3000}])
    assert refused.value.body()["error"]["code"] == "context_length_exceeded"
    after = await pool.usage()
    assert after["input_tokens"] == before["input_tokens"]
    assert after["output_tokens"] == before["output_tokens"]


async def test_the_engine_is_ready(backends: Backends, model: Model) -> None:
    assert await backends.ready(model)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize", "/usage", "/docs", "/openapi.json", "/", ""])
async def test_every_route_of_an_engine_asks_for_the_token(pool: Any, path: str) -> None:
    for method in ("GET", "POST"):
        assert await status_of(f"{pool.engine_url}{path}", method) == 401


async def test_a_replicas_own_port_asks_for_the_token_on_serves_paths_too(pool: Any) -> None:
    ports = [port for _, port in pool.listeners() if 30_000 <= port <= 31_000]
    assert ports
    for port in ports:
        for path in ("/", "/-/routes", "/docs", "/engines/smollm2-135m-instruct/1/usage"):
            assert await status_of(f"http://127.0.0.1:{port}{path}") == 401


def outward_addresses() -> list[tuple[socket.AddressFamily, str]]:
    """Return the machine's addresses but loopback; one of IPv6 that holds on a link only names its interface."""
    addresses = [address for interface in psutil.net_if_addrs().values() for address in interface]
    internet = [found for found in addresses if found.family in (socket.AF_INET, socket.AF_INET6)]
    outward = [found for found in internet if not ip_address(found.address.partition("%")[0]).is_loopback]
    return [(found.family, found.address) for found in outward]


def connects(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(5)
        where = socket.getaddrinfo(address, port, family, socket.SOCK_STREAM)[0][4]
        return probe.connect_ex(where) == 0


async def test_nothing_of_the_pool_answers_on_other_interfaces_without_a_token(pool: Any) -> None:
    addresses = outward_addresses()
    if not addresses:
        pytest.skip("this machine has no address but loopback, so there is nothing to connect through")
    listeners = pool.listeners()
    assert listeners
    reachable = [
        f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
        for family, address in addresses
        for port in sorted({port for _, port in listeners})
        if connects(family, address, port)
    ]
    # What is left is the port that Serve's deployments call each other on; it asks for Ray's own token.
    for target in reachable:
        assert [answer_without_token(target, method) for method in SERVE_INTERNAL_METHODS] == [
            grpc.StatusCode.UNAUTHENTICATED
        ] * len(SERVE_INTERNAL_METHODS)


def answer_without_token(target: str, method: str) -> grpc.StatusCode:
    """Call a method of Serve's internal service as a stranger and return the status."""
    with grpc.insecure_channel(target) as channel:
        try:
            for _ in channel.unary_stream(f"/ray.serve.ASGIService/{method}")(b"", timeout=30):
                pass
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_nobody_else_can_enter_the_pools_directory_although_ray_opens_its_own(pool: Any) -> None:
    directory = pool_directory(pool.settings)
    found = directory.stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == os.getuid()
    inside = {path.name for path in directory.iterdir()}
    assert inside == {"haproxy", "h", ray_directory(pool.settings).name}
    assert stat.S_IMODE((directory / "haproxy").stat().st_mode) == 0o700
    assert any(ray_directory(pool.settings).glob("session_*/sockets/plasma_store"))


def test_no_process_shows_a_token_in_its_arguments(pool: Any) -> None:
    tokens = (pool.token, pool.settings.secret("ray_token").decode())
    processes = [pool.process, *pool.process.children(recursive=True)]
    arguments = [" ".join(process.cmdline()) for process in processes]
    assert len(arguments) > 3
    assert not any(token in line for token in tokens for line in arguments)
