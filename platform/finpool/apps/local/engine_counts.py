"""What the engines of this machine counted by themselves since they started."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from finpool.apps.client.api import ApiClient
from finpool.apps.local.engines_file import read_engines
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

COUNTS = ("input_tokens", "output_tokens")


def engine_counts(settings: Settings) -> dict[str, dict[str, int]]:
    """Return what the engines of each model have counted, those of versions that were retired since included.

    Those of `uncounted_models` are left out. Raises `ConfigurationError` while the pool is not ready, `Unreachable` or
    `Refused` if an engine does not answer.
    """
    state = read_engines(settings.home)
    if state is None:
        raise ConfigurationError("the engines are not ready: `finpool status` says which process to wait for")
    engines = ApiClient(settings.serve_base_url, settings.secret("engine_token").decode())
    counted = {model_id: Counter(ended) for model_id, ended in state.ended.items() if model_id not in state.uncounted}
    for model_id, paths in state.engine_paths.items():
        if model_id in state.uncounted:
            continue
        for path in paths:
            counted.setdefault(model_id, Counter()).update(_counts(engines.get(f"{path}/usage")))
    return {model_id: dict(counts) for model_id, counts in counted.items()}


def uncounted_models(settings: Settings) -> frozenset[str]:
    """Return the models whose engines cannot say what they counted: a replica that has gone took its counts along."""
    state = read_engines(settings.home)
    return frozenset() if state is None else frozenset(state.uncounted)


def differences(counted: dict[str, dict[str, int]], used: dict[str, dict[str, int]]) -> list[dict[str, str | None]]:
    """Compare engines' counts with recorded usage by model, in the shape of a reconciliation's differences."""
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
    """Return the tokens of `GET /v1/usage?group_by=model` by the model whose engine served them.

    `engine_of` names it for each model of the catalogue; one that is no longer there stands for itself. A model has one
    group for each currency.
    """
    used: dict[str, dict[str, int]] = {}
    for group in groups:
        model_id = str(group["model_id"])
        sums = used.setdefault(engine_of.get(model_id, model_id), dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            sums[name] += int(group[name])
    return used


def _counts(answer: dict[str, Any]) -> dict[str, int]:
    return {name: int(answer[name]) for name in COUNTS}
