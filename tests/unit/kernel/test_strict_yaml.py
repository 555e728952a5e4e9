"""Values of YAML files mean the same to every reader, or they are refused."""

import string
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from finpool.kernel.strict_yaml import load_yaml

AMBIGUOUS = (
    *("0100", "00", "-010", "+5", "+0", "010.5", "0100.0"),
    *("10:00", "1:30:00", "-1:30", "20:30.5", "190:20:30"),
    *("1_000", "1_0.5", "1_", "0x10", "0XfF", "0b11", "0o17", "0x_1"),
    *(".5", "5.", ".5e3", "5e3", "1.5e3", "1E6", "1e-3", "-.5"),
    *(".inf", "-.Inf", ".nan", ".NaN", "NaN", "inf", "Inf"),
    *("yes", "Yes", "no", "NO", "on", "off", "Off", "y", "N"),
    *("2026-01-31", "2026-1-3", "2026-01-31T10:00:00Z", "2026-01-31 10:00:00"),
    "=",
)


@pytest.mark.parametrize("value", AMBIGUOUS)
@pytest.mark.parametrize("form", ["limit: {}", "- {}", "{{limit: {}}}", "{}: 1"])
def test_a_value_that_readers_read_differently_is_refused_and_named(form: str, value: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        load_yaml(form.format(value))
    assert f"{value} is read in different ways: write plain decimal digits" in str(caught.value)
    assert "line 1" in str(caught.value)


@pytest.mark.parametrize("value", AMBIGUOUS)
def test_the_same_in_quotes_is_text(value: str) -> None:
    assert load_yaml(f"name: '{value}'\nother: \"{value}\"") == {"name": value, "other": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0", 0), ("100", 100), ("-5", -5), ("1.5", 1.5), ("-0.25", -0.25), ("5.0", 5.0), ("0.10", 0.1)],
        *[("9007199254740993", 9007199254740993), ("true", True), ("False", False), ("~", None), ("null", None)],
        *[("", None), ("1.2.3", "1.2.3"), ("b8815", "b8815"), ("127.0.0.1:8000", "127.0.0.1:8000")],
        *[("no-one", "no-one"), ("2026-01", "2026-01"), ("<<", "<<"), ("１００", "１００"), ("Norway", "Norway")],
    ],
)
def test_plain_values_are_read_as_they_are_written(text: str, value: object) -> None:
    assert load_yaml(f"value: {text}") == {"value": value}


def test_a_number_of_more_digits_than_any_amount_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="is read in different ways"):
        load_yaml("limit: " + "1" * 5000)


@pytest.mark.parametrize("number", ["9007199254740993.0", "0.1234567890123456789", "1" * 400 + ".5", "1" * 5000 + ".0"])
def test_a_fraction_is_never_read_as_another_number(number: str) -> None:
    with pytest.raises(yaml.YAMLError, match="more digits than can be read exactly"):
        load_yaml(f"limit: {number}")


@pytest.mark.parametrize("text", ['a: !!int "0100"', "a: !!float 1", "a: !!str 5", "a: !x 5", "!!set {a}"])
def test_a_tag_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"the tag .* is not read"):
        load_yaml(text)


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "~"])
def test_a_key_that_is_no_text_is_refused(key: str) -> None:
    with pytest.raises(yaml.YAMLError, match="is no text: write it in quotes"):
        load_yaml(f"{key}: value")


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="the key 'a' is given twice"):
        load_yaml("a: 1\n'a': 2")


@given(st.text(alphabet=string.digits + "+-._:eExob", min_size=1, max_size=8))
@example("0100")
def test_a_scalar_of_digits_is_the_decimal_it_looks_like_or_no_number(text: str) -> None:
    try:
        value: Any = load_yaml(f"- {text}")
    except yaml.YAMLError:
        return
    if isinstance(value, list) and isinstance(value[0], int | float):
        assert Decimal(repr(value[0])) == Decimal(text)
        assert text.lstrip("-")[0] in string.digits
        assert text.lstrip("-") == "0" or text.lstrip("-").startswith("0.") or text.lstrip("-")[0] != "0"
