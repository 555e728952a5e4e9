"""The one rule for query parameters, at every door: none is ignored.

A parameter that the route does not declare is refused, and so is one value given twice. A list is written
`name=a&name=b` or, as OpenAI's clients write it, `name[]=a&name[]=b`. A whole number is written with digits alone.
"""

import re
from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, urlencode

from finpool.kernel.errors import (
    InvalidRequest,
    RepeatedQueryParameter,
    UnknownQueryParameter,
    UnsupportedQueryParameter,
)

BRACKETS = "[]"
NUL = "\0"
"""The one character that the database cannot hold in a text."""

_NAME_LENGTH_MAX = 64
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_PARAMETERS_MAX = 256
_BYTES_MAX = 16_384
"""A longer query is refused before it is decoded."""


class QueryRules:
    """The query parameters of one route: `is_list` by name, and for each that is refused by name the reason.

    `whole_numbers` are the names of those that take whole numbers only.
    """

    def __init__(
        self, is_list: Mapping[str, bool], refused: Mapping[str, str], whole_numbers: Collection[str] = ()
    ) -> None:
        self._is_list = dict(is_list)
        self._refused = dict(refused)
        self._whole_numbers = frozenset(whole_numbers)

    def checked(self, raw: bytes) -> bytes:
        """Return the query with plain names of lists.

        Raises `UnknownQueryParameter`, `UnsupportedQueryParameter` or `RepeatedQueryParameter`. Raises `InvalidRequest`
        for a number in a form that only Python reads, such as `1_0`, and for a NUL.
        """
        _require_short(raw)
        try:
            given = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError as error:
            raise InvalidRequest("The query is not UTF-8 in percent-encoding.") from error
        for name, value in given:
            if NUL in value:
                shown = name[:_NAME_LENGTH_MAX]
                raise InvalidRequest(f"{shown}: it must not hold the character NUL.", param=shown)
        plain = [(self._declared(name), value) for name, value in given]
        seen: set[str] = set()
        for name, value in plain:
            if name in self._whole_numbers and not _WHOLE_NUMBER.fullmatch(value):
                raise InvalidRequest(f"{name}: it must be a whole number, written with digits.", param=name)
            if name in seen and not self._is_list[name]:
                raise RepeatedQueryParameter(f"The query gives '{name}' more than once; give it once.", param=name)
            seen.add(name)
        return urlencode(plain).encode() if BRACKETS in {name[-2:] for name, _ in given} else raw

    def _declared(self, given: str) -> str:
        """Return the declared name of a given one; raise if there is none."""
        name = given.removesuffix(BRACKETS)
        if given in self._is_list:
            return given
        if self._is_list.get(name):
            return name
        shown = given[:_NAME_LENGTH_MAX]
        if name in self._refused:
            reason = self._refused[name]
            raise UnsupportedQueryParameter(f"The query parameter '{shown}' is not served: {reason}.", param=name)
        taken = ", ".join(sorted(self._is_list)) or "none"
        message = f"Unknown query parameter: '{shown}'. This route takes: {taken}."
        raise UnknownQueryParameter(message, param=shown)


def _require_short(raw: bytes) -> None:
    """Raise `InvalidRequest` for a query whose reading would take long."""
    if len(raw) > _BYTES_MAX or raw.count(b"&") >= _PARAMETERS_MAX:
        raise InvalidRequest(f"The query may have {_BYTES_MAX} bytes and {_PARAMETERS_MAX} parameters at most.")
