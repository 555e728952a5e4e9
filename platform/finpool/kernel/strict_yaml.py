"""Strict YAML for files that people write: plain values only, and no duplicate keys."""

from collections.abc import Hashable
from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which also rejects a duplicate key instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load_yaml(text: str) -> Any:
    """Return the plain values of one document; raise `yaml.YAMLError` if it is invalid or repeats a key."""
    # The loader derives from SafeLoader, so it builds plain values only.
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506
