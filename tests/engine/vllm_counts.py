"""The counters of vLLM itself, with which the platform's usage is compared."""

import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from small_model import MODEL
from waiting import until_now


class Engine:
    """vLLM's own counters, as it publishes them."""

    def __init__(self, installation: Any) -> None:
        self._url = f"http://127.0.0.1:{installation.port + 10}/engines/{MODEL}/1/metrics"
        self._token = (installation.home / "secrets" / "engine_token").read_text().strip()

    def count(self, name: str) -> int:
        """Return the sum of a metric over its labels."""
        request = urllib.request.Request(self._url, headers={"authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        samples = [sample for family in families for sample in family.samples if sample.name == f"vllm:{name}"]
        assert samples, name
        return int(sum(sample.value for sample in samples))

    def counts(self) -> dict[str, int]:
        """Return what usage is compared with."""
        return {name: self.count(f"{name}_total") for name in ("prompt_tokens", "generation_tokens")}

    def await_idle(self) -> None:
        """Wait until nothing is generated any more."""
        names = ("num_requests_running", "num_requests_waiting")
        until_now(lambda: not sum(self.count(name) for name in names), "vLLM is idle", pause_seconds=0.05)
