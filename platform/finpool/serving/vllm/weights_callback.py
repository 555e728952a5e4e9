"""What Ray is told about a model's files: they are on this node and verified, so nothing is left to fetch."""

from ray.llm._internal.common.callbacks.base import CallbackBase


class WeightsInPlace(CallbackBase):
    """Skips the task that Ray would start on every node only to look for a download: it takes as long as an engine."""

    async def on_before_node_init(self) -> None:
        """Tell Ray that there is nothing to do before the engine starts."""
        self.ctx.run_init_node = False
