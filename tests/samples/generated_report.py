"""The report of a run of Schemathesis, by request: its operation, how it was made, and its answer."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_ERROR = "error"


@dataclass(frozen=True)
class Exchange:
    """One generated request. `valid` tells whether it keeps to the document, `status` is None without an answer."""

    operation: str
    phase: str
    valid: bool
    sent: str
    status: int | None
    error: dict[str, Any]


class GeneratedReport:
    """The requests of one run."""

    def __init__(self, path: Path) -> None:
        """Read a report in Schemathesis' NDJSON: one event in each line."""
        lines = path.read_text(encoding="utf-8").splitlines()
        self.exchanges = [each for line in lines for each in _exchanges(json.loads(line))]

    @cached_property
    def by_phase(self) -> Counter[str]:
        """How many requests each phase sent."""
        return Counter(each.phase for each in self.exchanges)

    @cached_property
    def served(self) -> set[str]:
        """The operations that answered a request with success at least once."""
        return {each.operation for each in self.exchanges if each.status is not None and each.status < 300}

    def refused_though_valid(self, codes: frozenset[str]) -> Iterator[Exchange]:
        """Yield valid requests that were refused with one of these codes."""
        return (each for each in self.exchanges if each.valid and each.error.get("code") in codes)


def _exchanges(event: dict[str, Any]) -> Iterator[Exchange]:
    scenario = event.get("ScenarioFinished")
    if scenario is None:
        return
    recorder = scenario["recorder"]
    for case_id, exchange in recorder.get("interactions", {}).items():
        case = recorder["cases"][case_id]["value"]
        answer = exchange.get("response") or {}
        made = case.get("meta", {}).get("generation", {}).get("mode")
        yield Exchange(
            operation=f"{case['method']} {case['path']}",
            phase=scenario["phase"],
            valid=made == "positive",
            sent=f"{exchange['request']['uri']} {json.dumps(case.get('body'))[:500]}",
            status=answer.get("status_code"),
            error=_error_of(answer),
        )


def _error_of(answer: dict[str, Any]) -> dict[str, Any]:
    if answer.get("status_code", 0) < 400:
        return {}
    content = base64.b64decode(answer.get("content", {}).get("$base64", ""))
    error: dict[str, Any] = json.loads(content).get(_ERROR, {})
    return error
