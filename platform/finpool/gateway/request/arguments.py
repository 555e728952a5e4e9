"""The arguments of an earlier tool call: a text that holds JSON."""

import orjson

from finpool.gateway.request.options import fault

VALUES_MAX = 32_768
"""Values of a body, and of the arguments of a call. A megabyte of tools as clients write them has 30,000."""


def as_object(arguments: str) -> str:
    """Return arguments that are a JSON object; a model may have written others, and chat templates fail on them."""
    if sum(map(arguments.count, ",[{")) > VALUES_MAX:
        raise fault(f"it may have {VALUES_MAX} values at most")
    try:
        if isinstance(orjson.loads(arguments or "{}"), dict):
            return arguments or "{}"
    except orjson.JSONDecodeError:
        pass
    return orjson.dumps({"text": arguments}).decode()
