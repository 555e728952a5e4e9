"""The file descriptors of a door: as many connections as the operating system's limit allows."""

import resource

from finpool.kernel.errors import ConfigurationError
from finpool.kernel.logs import logger

DESCRIPTORS_KEPT = 128
"""Descriptors that no connection gets: database, spool, logs, telemetry, listening sockets, reserved connections."""

DESCRIPTORS_OF_A_CONNECTION = 2
"""Its own, and that of a connection to the engine which answers it."""

_log = logger("apps.descriptors")


def connections_within_limit(connections_max: int) -> int:
    """Raise the process's limit of open files as far as `connections_max` needs; return the connections that fit.

    Raises `ConfigurationError` if the limit leaves room for none.
    """
    wanted = connections_max * DESCRIPTORS_OF_A_CONNECTION + DESCRIPTORS_KEPT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        soft = reachable
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections_max
    fitting = (soft - DESCRIPTORS_KEPT) // DESCRIPTORS_OF_A_CONNECTION
    if fitting < 1:
        raise ConfigurationError(f"the limit of open files is {soft}: raise it to {wanted} (ulimit -n)")
    if fitting < connections_max:
        _log.warning(
            "the limit of open files leaves room for fewer connections than FINPOOL_CONNECTIONS_MAX",
            connections=fitting,
            open_files=soft,
            open_files_wanted=wanted,
        )
    return min(connections_max, fitting)
