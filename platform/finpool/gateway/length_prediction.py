"""How long a request is going to be: a moving average over what its tenant asked before."""

from collections import deque
from dataclasses import dataclass

from finpool.catalogue.schemas import INPUT_WEIGHT, service_of

REMEMBERED = 5


@dataclass(frozen=True, slots=True)
class Ask:
    """What is known of a request before it runs: the most that it can use, in tokens."""

    input_tokens_bound: int
    output_tokens_bound: int

    @property
    def input_cost(self) -> int:
        """The most that its prompt can cost."""
        return INPUT_WEIGHT * self.input_tokens_bound


class Lengths:
    """What the last few requests used: their prompts beside their bounds, and their answers."""

    __slots__ = ("_bounds", "_inputs", "_outputs")

    def __init__(self) -> None:
        self._bounds: deque[int] = deque(maxlen=REMEMBERED)
        self._inputs: deque[int] = deque(maxlen=REMEMBERED)
        self._outputs: deque[int] = deque(maxlen=REMEMBERED)

    def learn(self, ask: Ask, input_tokens: int, output_tokens: int) -> None:
        """Remember what a request used."""
        self._bounds.append(ask.input_tokens_bound)
        self._inputs.append(input_tokens)
        self._outputs.append(output_tokens)

    def expected_cost(self, ask: Ask, others: "Lengths") -> int:
        """Return the expected cost of a request, by what `others` asked while nothing is known of this one's tenant."""
        known = self if self._outputs else others
        if not known._outputs:
            return ask.input_cost
        input_tokens = ask.input_tokens_bound * sum(known._inputs) // max(1, sum(known._bounds))
        output_tokens = sum(known._outputs) // len(known._outputs)
        return service_of(min(input_tokens, ask.input_tokens_bound), min(output_tokens, ask.output_tokens_bound))
