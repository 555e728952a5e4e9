"""The one reader of database URLs: the forms that libpq understands, as arguments of asyncpg's `connect`.

A message of this module never holds a part of the URL that may be a piece of a password.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes

from finpool.kernel.errors import ConfigurationError

_PORT_DEFAULT = 5432
_CONNECT_SECONDS_DEFAULT = 60
"""asyncpg's own; libpq waits without an end."""

_CONNECT_SECONDS_MIN = 2
"""libpq waits this long for a smaller `connect_timeout`."""

_SCHEMES = ("postgresql", "postgres")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_READ_HERE = (
    *("host", "port", "user", "password", "dbname"),
    *("connect_timeout", "application_name", "fallback_application_name", "options"),
)
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_PASSED_ON = (
    *_FILES,
    *("sslmode", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("target_session_attrs", "passfile", "service", "krbsrvname", "gsslib"),
)
_ONE_OF = {"sslmode": _SSL_MODES, "target_session_attrs": _SESSIONS, "sslnegotiation": ("postgres", "direct")}
_WITHOUT_EFFECT = {
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "load_balance_hosts": ("disable",),
    "client_encoding": ("utf8", "utf-8", "auto"),
}
"""The values of libpq's parameters that say how asyncpg works anyway; it can do no other value."""

_ALIASES = {"database": "dbname", "ssl": "sslmode"}
_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database, its servers and the login; None or empty stands for a part that the URL leaves to the defaults."""

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    connect_seconds_max: float | None = _CONNECT_SECONDS_DEFAULT
    server_settings: Mapping[str, str] = field(default_factory=dict)
    passed_on: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL; raise `ConfigurationError` with advice for one that is malformed or that asyncpg cannot do."""
        if any(ord(letter) < 32 or ord(letter) == 127 or "\ud800" <= letter <= "\udfff" for letter in text):
            raise ConfigurationError("it holds a line break or another control character: remove it")
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.lower() not in _SCHEMES:
            raise ConfigurationError("it must begin with postgresql:// or postgres://, and FinPool needs Postgres")
        # As in libpq: the first of these two ends the login or shows that there is none.
        first = re.search("[@/]", rest)
        login, address = (rest[: first.start()], rest[first.end() :]) if first and first.group() == "@" else ("", rest)
        if "@" in address:
            raise ConfigurationError(
                "only one @ may stand in it, before the host: percent-encode each other @ and / (%40 and %2F)"
            )
        address, _, query = address.partition("?")
        servers, _, database = address.partition("/")
        user, _, password = login.partition(":")
        hosts, ports = _servers(servers)
        given = {"user": user, "password": password, "host": hosts, "port": ports, "dbname": database}
        given = {name: _decoded(value) for name, value in given.items()}
        return cls._of({**given, **dict(_parameters(query))})

    @classmethod
    def _of(cls, given: Mapping[str, str]) -> Self:
        hosts = tuple(given["host"].split(",")) if given["host"] else ()
        if len(hosts) > 1 and not all(hosts):
            raise ConfigurationError("name a host between every two commas")
        settings = {
            "application_name": given.get("application_name") or given.get("fallback_application_name", ""),
            "options": given.get("options", ""),
        }
        passed_on = {name: value for name, value in given.items() if name in _PASSED_ON and value}
        _check_files(passed_on)
        return cls(
            hosts=hosts,
            ports=_ports(given["port"], len(hosts)),
            user=given["user"] or None,
            password=given["password"] or None,
            database=given["dbname"] or None,
            connect_seconds_max=_connect_seconds_max(given.get("connect_timeout", "")),
            server_settings={name: value for name, value in settings.items() if value},
            passed_on=passed_on,
        )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`, without its timeout."""
        passed_on = dict(self.passed_on)
        ssl = None
        if passed_on.get("sslrootcert") == "system":
            # asyncpg's own name for the certificates of the system, with the host's name checked.
            ssl = True
            passed_on = {name: value for name, value in passed_on.items() if name not in ("sslmode", "sslrootcert")}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in passed_on.items())
        return {
            "dsn": f"postgresql://?{query}" if query else None,
            "host": list(self.hosts) or None,
            "port": list(self.ports) or None,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "ssl": ssl,
            "server_settings": dict(self.server_settings) or None,
        }


def _decoded(text: str) -> str:
    if _PERCENT.search(text):
        raise ConfigurationError("write % as %25: each % must begin two hexadecimal digits")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ConfigurationError("its percent-encoded parts must be UTF-8") from None
    if "\0" in decoded:
        raise ConfigurationError("%00 is not allowed")
    return decoded


def _servers(text: str) -> tuple[str, str]:
    """Return hosts and ports, each joined by commas; an IPv6 address comes without its brackets."""
    hosts, ports = [], []
    for server in text.split(","):
        if server.startswith("["):
            host, closed, port = server[1:].partition("]")
            if not closed or not host or (port and not port.startswith(":")):
                raise ConfigurationError("write an IPv6 address in brackets: postgresql://USER@[::1]:5432/DATABASE")
            port = port[1:]
        else:
            host, _, port = server.partition(":")
        hosts.append(host)
        ports.append(port)
    return ",".join(hosts), ",".join(ports)


def _ports(text: str, hosts: int) -> tuple[int, ...]:
    """Return one port for each host, or nothing where the URL names none; a single port holds for all hosts."""
    found = text.split(",")
    if not any(found):
        return ()
    for port in found:
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise ConfigurationError("its port must be a number from 1 to 65535")
    ports = tuple(int(port or _PORT_DEFAULT) for port in found)
    if len(ports) > 1 and len(ports) != hosts:
        raise ConfigurationError("name one port for all hosts, or one for each host")
    return ports * hosts if len(ports) == 1 and hosts else ports


def _connect_seconds_max(text: str) -> float | None:
    if not text:
        return _CONNECT_SECONDS_DEFAULT
    if not re.fullmatch("-?[0-9]{1,9}", text):
        raise ConfigurationError("its connect_timeout must be a whole number of seconds")
    seconds = int(text)
    return max(seconds, _CONNECT_SECONDS_MIN) if seconds > 0 else None


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters behind the question mark; a later one of the same name counts."""
    for part in query.split("&") if query else ():
        name, separator, text = part.partition("=")
        if not separator or "=" in text:
            raise ConfigurationError("write each parameter behind ? as NAME=VALUE, with & between two (= is %3D)")
        name, value = _decoded(name), _decoded(text)
        if name == "ssl" and value == "true":
            value = "require"  # As libpq reads it, for URLs of JDBC.
        name = _ALIASES.get(name, name)
        if name in _WITHOUT_EFFECT:
            if value.lower() not in _WITHOUT_EFFECT[name]:
                raise ConfigurationError(
                    f"the driver can do {name} only as {' or '.join(_WITHOUT_EFFECT[name])}: remove the parameter"
                )
        elif name not in (*_READ_HERE, *_PASSED_ON):
            shown = name if re.fullmatch("[a-z_]{1,40}", name) else "of one"
            raise ConfigurationError(
                f"the driver cannot do the parameter {shown}: remove it"
                " (a setting of the server goes into options=-c%20NAME%3DVALUE)"
            )
        elif value and value not in _ONE_OF.get(name, (value,)):
            raise ConfigurationError(f"its {name} must be one of {', '.join(_ONE_OF[name])}")
        else:
            yield name, value


def _check_files(passed_on: Mapping[str, str]) -> None:
    if passed_on.get("sslrootcert") == "system":
        if others := sorted(name for name in passed_on if name in ("sslcert", "sslkey", "sslcrl", "sslpassword")):
            raise ConfigurationError(f"with sslrootcert=system the driver cannot do {', '.join(others)}: name a file")
        if passed_on.get("sslmode", "verify-full") != "verify-full":
            raise ConfigurationError("sslrootcert=system needs sslmode=verify-full")
        return
    for name in _FILES:
        if (path := passed_on.get(name)) is not None and not Path(path).is_file():
            raise ConfigurationError(f"the file of its {name} does not exist or cannot be read")
