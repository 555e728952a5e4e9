"""The engine counts of this machine, compared with recorded usage."""

from collections.abc import Iterable, Mapping
from typing import Any

from finpool.installation.pool.engines_file import read_engines
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings
from finpool.serving.counters import kept_counts

COUNTS = ("input_tokens", "output_tokens")


def engine_counts(settings: Settings) -> dict[str, dict[str, int]]:
    """Return the counts of each model's engines over all versions and replicas, ended ones included.

    Raises `ConfigurationError` while the pool is not ready.
    """
    if read_engines(settings.home) is None:
        raise ConfigurationError("the engines are not ready: `finpool status` says which process to wait for")
    counted: dict[str, dict[str, int]] = {}
    for engine_key, counts in kept_counts(settings.home).items():
        sums = counted.setdefault(engine_key.rpartition("_")[0], dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            sums[name] += counts[name]
    return counted


def differences(counted: dict[str, dict[str, int]], used: dict[str, dict[str, int]]) -> list[dict[str, str | None]]:
    """Compare engine counts with recorded usage by model; return the differences in the shape of a reconciliation."""
    return [
        {
            "tenant_id": None,
            "left": "engine",
            "right": "usage",
            "subject": f"model {model}: {name}",
            "left_value": str(counted.get(model, {}).get(name, 0)),
            "right_value": str(used.get(model, {}).get(name, 0)),
        }
        for model in sorted({*counted, *used})
        for name in COUNTS
        if counted.get(model, {}).get(name, 0) != used.get(model, {}).get(name, 0)
    ]


def usage_by_engine(groups: Iterable[dict[str, Any]], engine_of: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return the tokens of `GET /v1/usage?group_by=model`, summed by the model whose engine served them.

    `engine_of` maps each model of the catalogue to that model; a removed model maps to itself. The list has one group
    per model and currency.
    """
    used: dict[str, dict[str, int]] = {}
    for group in groups:
        model_id = str(group["model_id"])
        sums = used.setdefault(engine_of.get(model_id, model_id), dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            sums[name] += int(group[name])
    return used
