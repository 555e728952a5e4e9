"""How many replicas an engine should have, by the requests under way and by the service that is ahead of them.

Ray Serve's controller runs this: it takes the class by its name, and applies bounds and delays to what it says.
"""

from typing import Any

SERVICE_AHEAD = "service_ahead"
"""The figure that a replica reports: service that is expected of its requests and not computed yet."""


class ReplicasWanted:
    """Serve's autoscaling policy of engines that declare `service_ahead_max`."""

    def __init__(self, service_ahead_max: int) -> None:
        self._service_ahead_max = service_ahead_max

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Return the replicas that either measure asks for, whichever is more, as a fraction, and no state."""
        if context.current_num_replicas == 0:
            return context.target_num_replicas, {}
        by_requests = context.total_num_requests / context.config.get_target_ongoing_requests()
        ahead = (context.aggregated_metrics or {}).get(SERVICE_AHEAD) or {}
        return max(by_requests, sum(ahead.values()) / self._service_ahead_max), {}
