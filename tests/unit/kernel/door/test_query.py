"""No query parameter is ignored: unknown names, names given twice, and lists in both notations."""

import pytest

from finpool.kernel.door.query import QueryRules
from finpool.kernel.errors import (
    InvalidRequest,
    RepeatedQueryParameter,
    UnknownQueryParameter,
    UnsupportedQueryParameter,
)

RULES = QueryRules(
    {"limit": False, "effective_at[gt]": False, "models": True, "group_by": True},
    {"user_ids": "keys have no users"},
    ["limit"],
)


@pytest.mark.parametrize("query", [b"limit=1&models=a&models=b", b"effective_at%5Bgt%5D=1", b"effective_at[gt]=1", b""])
def test_declared_parameters_pass_as_they_are(query: bytes) -> None:
    assert RULES.checked(query) == query


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        (b"models[]=a", b"models=a"),
        (b"models%5B%5D=a&limit=1&models[]=b", b"models=a&limit=1&models=b"),
        (b"models=a&models[]=%E4%BD%A0%2C&group_by[]=", b"models=a&models=%E4%BD%A0%2C&group_by="),
    ],
)
def test_lists_come_with_brackets_without_them_or_both(query: bytes, plain: bytes) -> None:
    assert RULES.checked(query) == plain


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (b"nope=1", "nope"),
        (b"Limit=1", "Limit"),
        (b"limit[]=1", "limit[]"),
        (b"effective_at=1", "effective_at"),
        (b"effective_at[eq]=1", "effective_at[eq]"),
        (b"models[0]=1", "models[0]"),
        (b"limit=1&=", ""),
        (b"nope", "nope"),
        (b"x" * 500, "x" * 64),
    ],
)
def test_an_unknown_parameter_is_named(query: bytes, param: str) -> None:
    with pytest.raises(UnknownQueryParameter, match="This route takes: effective_at") as refused:
        RULES.checked(query)
    assert refused.value.param == param


@pytest.mark.parametrize("query", [b"user_ids=1", b"user_ids[]=1", b"user_ids%5B%5D=1"])
def test_a_parameter_that_is_not_served_is_refused_with_the_reason(query: bytes) -> None:
    with pytest.raises(UnsupportedQueryParameter, match="keys have no users"):
        RULES.checked(query)


@pytest.mark.parametrize("query", [b"limit=1&limit=1", b"limit=1&models=a&lim%69t=2"])
def test_a_value_given_twice_is_refused(query: bytes) -> None:
    with pytest.raises(RepeatedQueryParameter) as refused:
        RULES.checked(query)
    assert refused.value.param == "limit"


@pytest.mark.parametrize("query", [b"models=%ff", b"limit=\xff"])
def test_a_query_that_is_no_text_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        RULES.checked(query)


@pytest.mark.parametrize("query", [b"limit=1_0", b"limit=+1", b"limit=", b"limit=1.0", b"limit=" + b"1" * 500])
def test_a_whole_number_is_written_with_digits(query: bytes) -> None:
    with pytest.raises(InvalidRequest, match="limit: it must be a whole number") as refused:
        RULES.checked(query)
    assert refused.value.param == "limit"
