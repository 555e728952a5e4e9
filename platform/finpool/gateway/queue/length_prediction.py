"""The length prediction: a moving average over a tenant's last requests."""

from collections import deque
from dataclasses import dataclass

from finpool.catalogue.model.schemas import INPUT_WEIGHT, service_of

REMEMBERED = 64
"""Lengths of one tenant's requests vary widely, so five requests would not suffice."""

BYTES_PER_TOKEN_MAX = 8
"""No prompt is expected to have fewer tokens than its bound by this, or a tenant could hide long prompts."""


@dataclass(frozen=True, slots=True)
class LengthBound:
    """The bounds of a request before it runs, in tokens; they hold for all its `choices` and `prompts` together."""

    input_tokens_bound: int
    output_tokens_bound: int
    choices: int = 1
    prompts: int = 1

    @property
    def input_cost(self) -> int:
        """The largest cost of its prompt."""
        return INPUT_WEIGHT * self.input_tokens_bound


class Lengths:
    """The use of the last requests: prompts beside their bounds, and answers."""

    __slots__ = ("_bounds", "_inputs", "_known", "_outputs")

    def __init__(self) -> None:
        self._known: deque[tuple[int, int, int]] = deque()
        self._bounds = self._inputs = self._outputs = 0

    def learn(self, bound: LengthBound, input_tokens: int, output_tokens: int) -> None:
        """Add the use of a request, and drop the oldest of more than `REMEMBERED`."""
        self._add(bound.input_tokens_bound, input_tokens, output_tokens)
        self._known.append((bound.input_tokens_bound, input_tokens, output_tokens))
        if len(self._known) > REMEMBERED:
            before, read, written = self._known.popleft()
            self._add(-before, -read, -written)

    def expected_cost(self, bound: LengthBound, others: "Lengths") -> int:
        """Return the expected cost of a request, by `others` if its tenant has no history."""
        known = self if self._known else others
        if not known._known:
            return bound.input_cost
        input_tokens = known._expected_input(bound)
        output_tokens = known._outputs // len(known._known)
        return service_of(min(input_tokens, bound.input_tokens_bound), min(output_tokens, bound.output_tokens_bound))

    def expected_input(self, bound: LengthBound, others: "Lengths") -> int:
        """Return the expected prompt tokens of a request, by `others` if its tenant has no history."""
        known = self if self._known else others
        least = bound.input_tokens_bound // BYTES_PER_TOKEN_MAX
        return max(least, known._expected_input(bound)) if known._known else bound.input_tokens_bound

    def _expected_input(self, bound: LengthBound) -> int:
        return bound.input_tokens_bound * self._inputs // max(1, self._bounds)

    def _add(self, bound: int, input_tokens: int, output_tokens: int) -> None:
        self._bounds += bound
        self._inputs += input_tokens
        self._outputs += output_tokens
