"""The prompts that an engine computes now, bounded so that a newcomer's prompt fits into its next step."""

from finpool.catalogue.model.prefill_bound import PrefillBound
from finpool.gateway.queue.turn import Turn


class StepPrompts:
    """The prompt tokens of one engine's step, as far as this gateway fills it; without a bound nothing is limited.

    A long prompt counts with its part of one step, until its first token. A gateway that holds a part of the engine's
    slots fills the same part of a step, and one prompt's at least.
    """

    def __init__(self, bound: PrefillBound | None, in_flight_max: int) -> None:
        self._bound = bound
        self._in_flight_max = in_flight_max
        self._shared_max = 0 if bound is None else bound.shared_tokens
        self._shared = self._express = 0

    def limit(self, in_flight_max: int) -> None:
        """Fill only the part of a step that these slots are of all slots."""
        if self._bound is not None:
            part = self._bound.shared_tokens * in_flight_max // self._in_flight_max
            self._shared_max = min(self._bound.shared_tokens, max(self._bound.prompt_tokens, part))

    def fits(self, prompt_tokens: int, *, express: bool) -> bool:
        """Tell whether a prompt may begin now; one prompt always may."""
        if self._bound is None:
            return True
        used, most = (self._express, self._bound.express_tokens) if express else (self._shared, self._shared_max)
        return not used or used + min(prompt_tokens, self._bound.prompt_tokens) <= most

    def begin(self, turn: Turn, prompt_tokens: int, *, express: bool) -> None:
        """Begin the prompt of a turn; each of its choices may fill the part of a prompt."""
        if self._bound is None:
            return
        most = self._bound.prompt_tokens * turn.length_bound.choices
        turn.long = prompt_tokens > self._bound.shared_tokens + self._bound.express_tokens
        turn.express = express
        turn.tenant.prompts += 1
        self._add(turn, min(max(prompt_tokens, 1), most))

    def end(self, turn: Turn) -> None:
        """End the prompt of a turn: it is computed, or its request has left. Later calls do nothing."""
        if turn.prefill_tokens:
            turn.tenant.prompts -= 1
            self._add(turn, -turn.prefill_tokens)

    def _add(self, turn: Turn, tokens: int) -> None:
        turn.prefill_tokens += tokens
        if turn.express:
            self._express += tokens
        else:
            self._shared += tokens
