"""Ray Serve's autoscaling options, the same for every engine of the pool."""

from typing import Any

from finpool.catalogue.model.engine import PoolEngine
from finpool.kernel.settings import Settings
from finpool.serving.engine.capacity import requests_ongoing_max, requests_queued_max
from finpool.serving.engine.liveness import CHECK_PERIOD_SECONDS, CHECK_SECONDS_MAX
from finpool.serving.engine.scaling import ReplicasWanted

LOOK_BACK_FACTOR = 1.5
"""The ratio of the window of the average load to `engine_upscale_seconds`: 15 seconds by default.

An engine replica is idle if no request ran in the whole window.
"""

REPORT_SECONDS_MAX = 10.0
"""The longest time between two reports of a replica's load; Serve wants it shorter than the window."""


def replica_options(engine: PoolEngine, settings: Settings, *, asleep: bool) -> dict[str, Any]:
    """Return Serve's options of a deployment; with `asleep`, an engine that may sleep starts without a replica."""
    policy = {} if engine.service_ahead_max is None else {"policy": _by_service(engine.service_ahead_max)}
    return {
        "autoscaling_config": {
            **policy,
            "min_replicas": engine.replicas_min,
            "max_replicas": engine.replicas_max,
            "initial_replicas": engine.replicas_min if asleep else engine.replicas_first,
            "target_ongoing_requests": engine.slots,
            "metrics_interval_s": min(REPORT_SECONDS_MAX, settings.engine_upscale_seconds),
            "look_back_period_s": LOOK_BACK_FACTOR * settings.engine_upscale_seconds,
            "upscale_delay_s": settings.engine_upscale_seconds,
            "downscale_delay_s": engine.idle_seconds,
            "downscale_to_zero_delay_s": engine.idle_seconds,
        },
        "max_ongoing_requests": requests_ongoing_max(engine),
        "max_queued_requests": requests_queued_max(engine),
        "graceful_shutdown_timeout_s": settings.engine_drain_seconds,
        "health_check_period_s": CHECK_PERIOD_SECONDS,
        "health_check_timeout_s": CHECK_SECONDS_MAX,
    }


def _by_service(service_ahead_max: int) -> dict[str, Any]:
    """Return Serve's declaration of `ReplicasWanted`; without it Serve scales by requests only."""
    name = f"{ReplicasWanted.__module__}:{ReplicasWanted.__name__}"
    return {"policy_function": name, "policy_kwargs": {"service_ahead_max": service_ahead_max}}
