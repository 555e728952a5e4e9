"""Wait until no client is connected to this pod's port any more, at most a given time. Runs as a preStop hook.

Usage: drain.py PORT SECONDS_MAX. Kubernetes has stopped routing new clients here when it runs this; the app goes on
serving the streams that are under way and gets its SIGTERM when this script ends.
"""

import sys
import time
from pathlib import Path

DEREGISTRATION_SECONDS = 10.0
POLL_SECONDS = 0.5
ESTABLISHED = "01"


def connections(port: int) -> int:
    """Count established connections whose local end is `port`, from the kernel's own tables."""
    count = 0
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == ESTABLISHED and int(local.rsplit(":", 1)[1], 16) == port:
                count += 1
    return count


def drain(port: int, seconds_max: float, deregistration_seconds: float = DEREGISTRATION_SECONDS) -> bool:
    """Return True when the last connection is gone, False when `seconds_max` are over first."""
    deadline = time.monotonic() + seconds_max
    # A load balancer hears of the change a little later and may still send clients until then.
    time.sleep(min(deregistration_seconds, seconds_max))
    while connections(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


if __name__ == "__main__":
    drain(int(sys.argv[1]), float(sys.argv[2]))
