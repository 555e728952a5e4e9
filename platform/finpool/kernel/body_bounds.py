"""The bounds of a body before anything is made of it: a megabyte of empty lists would be a third of a million objects.

Bytes are counted as fast as they are copied. Only a body with many commas or brackets is looked at again without its
texts, in which most of these may stand.
"""

from finpool.kernel.errors import InvalidRequest


def require_few_values(body: bytes, values_max: int) -> None:
    """Raise `InvalidRequest` for a body with more values: texts, numbers, lists and objects.

    A body that is no JSON may pass.
    """
    if separators(body) < values_max:
        return
    # Without backslashes and escaped quotes, every second piece between quotes is outside of texts.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    if unescaped.count(b'"') > 4 * values_max or _separators_outside_texts(unescaped) >= values_max:
        raise InvalidRequest(f"The body may have {values_max} values at most; send less at a time.")


def _separators_outside_texts(unescaped: bytes) -> int:
    return separators(b"".join(unescaped.split(b'"')[::2]))


def separators(content: bytes) -> int:
    """Return the number of commas and opening brackets; JSON has at most one value more."""
    return content.count(b",") + content.count(b"[") + content.count(b"{")


def require_few_fields(document: object, fields_max: int) -> None:
    """Raise `InvalidRequest` if an object of the document has more fields; each unknown one would make an error."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if len(value) > fields_max:
                raise InvalidRequest(f"An object of the body may have {fields_max} fields at most.")
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
