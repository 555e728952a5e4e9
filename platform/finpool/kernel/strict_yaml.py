"""Strict YAML for files that people write: plain values that every reader understands alike.

Readers of YAML disagree about `0100` (64 or 100), `10:00` (600 or text), `1_000`, `0x10`, `yes` and dates. So a number
is a plain decimal, and a truth value is true or false. Everything else of that kind is refused; in quotes it is text.
"""

import re
from collections.abc import Hashable
from decimal import Decimal
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_AMBIGUOUS = "!ambiguous"

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_TRUTH = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_WHOLE = re.compile(r"^-?(?:0|[1-9][0-9]{0,38})$")
_DECIMAL = re.compile(r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$")
_READ_DIFFERENTLY = re.compile(
    r"""^(?:
        (?:y|yes|n|no|on|off)                                               # truth values of YAML 1.1
        | [-+]? \.? (?:inf|nan)
        | [-+]? 0 (?:x[0-9a-f_]* | b[01_]* | o[0-7_]*)                      # other bases
        | [-+]? [0-9][0-9_]* (?::[0-9_]+)+ (?:\.[0-9_]*)?                   # base 60: hours and minutes
        | [-+]? (?:[0-9][0-9_]* \.? [0-9_]* | \.[0-9_]+) (?:e[-+]?[0-9]+)?  # octal, underscores, exponents, signs
        | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} (?:[t\ \t].*)?                     # dates
        | =
    )$""",
    re.VERBOSE | re.IGNORECASE,
)


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, with plain numbers only, text keys, no tags, and no duplicate key."""

    # Replaces the loader's own table, which reads octal numbers, base 60 and dates.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own table.

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"the tag {event.tag} is not read: write the plain value", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag not in (f"{_TAG}str", _AMBIGUOUS):
                raise _refusal(key, f"the key {key.value} is no text: write it in quotes")
            if key.value in seen:
                raise _refusal(key, f"the key '{key.value}' is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return the number; raise if a float cannot hold all of its digits."""
        if node.tag == f"{_TAG}int":
            return int(node.value)
        number = float(node.value)
        if Decimal(node.value) != Decimal(repr(number)):
            raise _refusal(node, f"{node.value} has more digits than can be read exactly")
        return number

    def refuse_ambiguous(self, node: yaml.ScalarNode) -> None:
        """Raise: readers of YAML disagree about this value."""
        raise _refusal(
            node,
            f"{node.value} is read in different ways: write plain decimal digits (100, 0.5), true or false,"
            " or text in quotes",
        )


def _refusal(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for _tag, _form in (
    (f"{_TAG}null", _NULL),
    (f"{_TAG}bool", _TRUTH),
    (f"{_TAG}int", _WHOLE),
    (f"{_TAG}float", _DECIMAL),
    (_AMBIGUOUS, _READ_DIFFERENTLY),
):
    _StrictLoader.add_implicit_resolver(_tag, _form, None)
_StrictLoader.add_constructor(f"{_TAG}int", _StrictLoader.construct_number)
_StrictLoader.add_constructor(f"{_TAG}float", _StrictLoader.construct_number)
_StrictLoader.add_constructor(_AMBIGUOUS, _StrictLoader.refuse_ambiguous)


def load_yaml(text: str) -> Any:
    """Return the plain values of one document.

    Raises `yaml.YAMLError` if it is invalid, repeats a key, or holds a value that readers of YAML read differently.
    """
    # The loader derives from SafeLoader, so it builds plain values only.
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506
