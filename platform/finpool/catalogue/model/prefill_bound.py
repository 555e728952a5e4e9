"""The prompt tokens in a step of an engine, for which the gateway's queue and the engines' options agree."""

from dataclasses import dataclass

LLAMACPP_STEP_TOKENS = 128
"""The prompt tokens of one step of llama.cpp. 1,024 tokens cost 2.5 % more processor time than in steps of 512."""

VLLM_STEP_TOKENS = {"cuda": 4096, "cpu": 2048}
"""The prompt tokens of one step of vLLM, by device: the time between two tokens of an answer beside long prompts."""


@dataclass(frozen=True, slots=True)
class PrefillBound:
    """The prompt tokens that an engine is given for one step.

    One prompt fills at most `prompt_tokens` of a step. The prompts of all tenants together fill `shared_tokens`, and
    those of newcomers `express_tokens` more. A newcomer has no other prompt in the step.
    """

    prompt_tokens: int
    shared_tokens: int
    express_tokens: int

    def times(self, replicas: int) -> "PrefillBound":
        """Return the bound of so many engine replicas, each of which has its own steps."""
        return PrefillBound(self.prompt_tokens, self.shared_tokens * replicas, self.express_tokens * replicas)
