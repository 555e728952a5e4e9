"""What the engines of this machine counted by themselves since they started."""

from collections.abc import Iterable, Mapping
from typing import Any

from finpool.apps.client.api import ApiClient, segment
from finpool.kernel.settings import Settings

COUNTS = ("input_tokens", "output_tokens")


def engine_counts(settings: Settings, model_ids: Iterable[str]) -> dict[str, dict[str, int]]:
    """Ask each model's engine for its counters; raises `Unreachable` or `Refused` if one does not answer."""
    engines = ApiClient(settings.serve_base_url, settings.secret("engine_token").decode())
    return {model_id: _counts(engines.get(f"/engines/{segment(model_id)}/usage")) for model_id in model_ids}


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
