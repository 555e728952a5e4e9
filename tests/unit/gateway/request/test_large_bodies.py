"""Other requests go on while a large body is parsed."""

import asyncio

import orjson
import pytest
from chat_requests import QUESTION

from finpool.gateway.request.intake import LARGE_BYTES_MIN, parse_chat_request, parsed
from finpool.kernel.errors import InvalidRequest

PROPERTIES = {f"p{number}": {"anyOf": [{"type": "null"}, {"$ref": "#"}]} for number in range(90)}
TOOLS = [
    {"type": "function", "function": {"name": f"f{number}", "parameters": {"type": "object", "properties": PROPERTIES}}}
    for number in range(64)
]


def body_of(**fields: object) -> bytes:
    return orjson.dumps({"model": "small", "messages": [QUESTION], "tools": TOOLS, **fields})


async def test_other_work_goes_on_while_a_large_body_is_parsed() -> None:
    parsing = asyncio.ensure_future(parsed(body_of(), parse_chat_request))
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
        await parsed(large, parse_chat_request)
    assert refused.value.param == "n"
