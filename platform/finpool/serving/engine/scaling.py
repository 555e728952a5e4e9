"""The autoscaling policy of an engine: it counts running requests and the work ahead.

Ray Serve's controller imports the class by its name, and applies bounds and delays to its result.
"""

from typing import Any

SERVICE_AHEAD = "service_ahead"
"""The name of the reported work ahead: service that is expected of running requests and not computed yet."""


class ReplicasWanted:
    """Serve's autoscaling policy for engines that declare `service_ahead_max`."""

    def __init__(self, service_ahead_max: int) -> None:
        self._service_ahead_max = service_ahead_max

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Return the larger of engine replicas by requests and replicas by work ahead, as a fraction, and an empty
        state.
        """
        if context.current_num_replicas == 0:
            return context.target_num_replicas, {}
        by_requests = context.total_num_requests / context.config.get_target_ongoing_requests()
        ahead = (context.aggregated_metrics or {}).get(SERVICE_AHEAD) or {}
        return max(by_requests, sum(ahead.values()) / self._service_ahead_max), {}
