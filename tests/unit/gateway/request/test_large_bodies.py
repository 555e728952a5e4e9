"""Other requests go on while a large body is parsed, and no tenant parses more than its share."""

import asyncio
import sys
import threading

import orjson
import pytest
from chat_requests import QUESTION
from waiting import until

from finpool.gateway.errors import LargeBodiesExceeded
from finpool.gateway.request.intake import LARGE_BYTES_MIN, is_large, parse_chat_request, parsed
from finpool.gateway.request.large_bodies import SAVED_SECONDS_MAX, SHARE, WAITING_MAX, LargeBodies
from finpool.gateway.request.processor_time import limited_processor_time
from finpool.kernel.errors import InvalidRequest
from finpool.kernel.ids import TenantId

BANK, OTHER = TenantId("bank-a"), TenantId("bank-b")
PROPERTIES = {f"p{number}": {"anyOf": [{"type": "null"}, {"$ref": "#"}]} for number in range(90)}
TOOLS = [
    {"type": "function", "function": {"name": f"f{number}", "parameters": {"type": "object", "properties": PROPERTIES}}}
    for number in range(20)  # A fifth of the time that a body may take: processors differ, and share their caches.
]


def body_of(**fields: object) -> bytes:
    return orjson.dumps({"model": "small", "messages": [QUESTION], "tools": TOOLS, **fields})


async def test_other_work_goes_on_while_a_large_body_is_parsed() -> None:
    parsing = asyncio.ensure_future(parsed(BANK, body_of(), parse_chat_request))
    rounds = 0
    while not parsing.done():
        await asyncio.sleep(0)
        rounds += 1
    assert len((await parsing).tools or ()) == len(TOOLS)
    assert rounds > 2  # The loop would turn once if the body were parsed within it.


async def test_a_large_body_is_refused_as_a_small_one() -> None:
    large = body_of(n=0)
    assert len(large) >= LARGE_BYTES_MIN
    with pytest.raises(InvalidRequest) as refused:
        await parsed(BANK, large, parse_chat_request)
    assert refused.value.param == "n"


def test_a_body_with_schemas_is_large_sooner_also_with_a_field_written_as_an_escape() -> None:
    text = "x" * 5_000
    assert not is_large(orjson.dumps({"messages": [{"role": "user", "content": text}]}))
    assert is_large(orjson.dumps({"tools": [{"function": {"parameters": {"description": text}}}]}))
    assert is_large(b'{"tools": [{"function": {"\\u0070arameters": {"description": "' + text.encode() + b'"}}}]}')


def test_schemas_that_take_too_long_are_refused() -> None:
    with limited_processor_time(0.0), pytest.raises(InvalidRequest, match="too long to check") as refused:
        parse_chat_request(body_of())
    assert refused.value.param == "tools[0].function.parameters"


class Parser:
    """Waits in each parse until a test lets it end; counts those under way at once."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.under_way: list[bytes] = []
        self.begun: list[bytes] = []

    def __call__(self, body: bytes) -> bytes:
        self.under_way.append(body)
        self.begun.append(body)
        assert self.go_on.acquire(timeout=30)
        self.under_way.remove(body)
        return body


async def begun(parser: Parser, count: int) -> None:
    await until(lambda: len(parser.begun) == count, f"{count} bodies are parsed", pause_seconds=0)


async def test_one_body_of_a_tenant_is_parsed_at_a_time_and_another_tenants_beside_it() -> None:
    bodies, parser = LargeBodies(), Parser()
    parsing = [asyncio.create_task(bodies.parsed(BANK, each, parser)) for each in (b"1", b"2", b"3")]
    await begun(parser, 1)
    parsing.append(asyncio.create_task(bodies.parsed(OTHER, b"other", parser)))
    await begun(parser, 2)
    assert sorted(parser.under_way) == [b"1", b"other"]
    for _ in parsing:
        parser.go_on.release()
    assert await asyncio.gather(*parsing) == [b"1", b"2", b"3", b"other"]


async def test_a_tenant_with_too_many_waiting_bodies_is_refused_and_no_other() -> None:
    bodies, parser = LargeBodies(), Parser()
    parsing = [asyncio.create_task(bodies.parsed(BANK, b"x", parser)) for _ in range(WAITING_MAX)]
    await begun(parser, 1)
    with pytest.raises(LargeBodiesExceeded):
        await bodies.parsed(BANK, b"one more", parser)
    parsing.append(asyncio.create_task(bodies.parsed(OTHER, b"other", parser)))
    for _ in parsing:
        parser.go_on.release()
    assert len(await asyncio.gather(*parsing)) == WAITING_MAX + 1


async def test_a_client_that_leaves_gives_its_tenant_no_second_thread() -> None:
    bodies, parser = LargeBodies(), Parser()
    left = asyncio.create_task(bodies.parsed(BANK, b"left", parser))
    await begun(parser, 1)
    left.cancel()
    following = asyncio.create_task(bodies.parsed(BANK, b"following", parser))
    for _ in range(5):
        await asyncio.sleep(0)
    assert parser.begun == [b"left"]
    parser.go_on.release(2)
    assert await following == b"following"
    with pytest.raises(asyncio.CancelledError):
        await left


async def test_a_tenant_that_used_its_share_of_the_processor_waits_and_others_do_not() -> None:
    clock, used = [0.0], [0.0]
    bodies = LargeBodies(lambda: clock[0], thread_seconds=lambda: used[0])

    def costly(body: bytes) -> bytes:
        used[0] += SAVED_SECONDS_MAX + 1.0
        return body

    assert await bodies.parsed(BANK, b"x", costly) == b"x"
    with pytest.raises(LargeBodiesExceeded) as refused:
        await bodies.parsed(BANK, b"x", costly)
    assert refused.value.status == 429
    seconds = int(refused.value.headers["retry-after"])
    assert await bodies.parsed(OTHER, b"x", lambda body: body) == b"x"
    clock[0] += seconds
    assert await bodies.parsed(BANK, b"x", lambda body: body) == b"x"
    assert seconds == 1.0 / SHARE


async def test_threads_change_as_before_once_no_large_body_is_parsed() -> None:
    bodies, parser, before = LargeBodies(), Parser(), sys.getswitchinterval()
    parsing = asyncio.create_task(bodies.parsed(BANK, b"x", parser))
    await begun(parser, 1)
    assert sys.getswitchinterval() < before
    parser.go_on.release()
    await parsing
    assert sys.getswitchinterval() == pytest.approx(before)
