"""HOME/demo.env: the addresses, keys and tokens of a one-machine installation, for shells and tests to source."""

import re
from collections.abc import Mapping

from finpool.installation.home.home import Home, write_atomically
from finpool.kernel.errors import ConfigurationError

_LINE = re.compile(r"^([A-Z][A-Z0-9_]*)=([A-Za-z0-9._:/\[\]-]*)$")


def read_demo_env(home: Home) -> dict[str, str]:
    """Return the values of demo.env, or none without the file; raise `ConfigurationError` for any other line."""
    try:
        text = home.demo_env.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{home.demo_env} cannot be read: {error}") from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ConfigurationError(
                f"{home.demo_env} line {number} is not NAME=value: move the file away and `finpool up` makes new keys"
            )
        values[match[1]] = match[2]
    return values


def write_demo_env(home: Home, values: Mapping[str, str]) -> None:
    """Replace demo.env in one step; only its owner may read it."""
    for name, value in values.items():
        if not _LINE.match(f"{name}={value}"):
            raise ValueError(f"{name} cannot be written to {home.demo_env}")
    lines = ["# Written by `finpool up`. These open the platform on this machine: keep them to yourself."]
    lines += [f"{name}={value}" for name, value in values.items()]
    write_atomically(home.demo_env, "\n".join(lines) + "\n", mode=0o600)
