"""A simulated engine with continuous batching, in virtual time: each step gives every sequence of the batch a token.

A step costs a constant, a part for each sequence, and a part for each prompt token that is computed in it. It computes
the prompts in the order of their arrival, up to a bound for all and one for each, as vLLM does. Nothing sleeps, so ten
minutes of a busy engine take a second.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from finpool.catalogue.model.engine import VllmEngine
from finpool.catalogue.model.prefill_bound import VLLM_STEP_TOKENS

WINDOW_SECONDS = 60.0
INPUT_WEIGHT = 1
OUTPUT_WEIGHT = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """The cost of a step, in seconds, the sequences of a batch, and the bounds of prompt tokens in a step."""

    name: str
    sequences_max: int
    step_seconds: float
    sequence_seconds: float
    prompt_token_seconds: float
    step_tokens: int = VLLM_STEP_TOKENS["cuda"]
    prompt_tokens: int = VLLM_STEP_TOKENS["cuda"]
    """Of one prompt in a step; by default a prompt may fill it."""


# Assumed, not measured: of the order of a 7 B model on one accelerator. `make test-gpu` measures a real one.
ACCELERATOR = Profile("accelerator", 64, 0.017, 0.0002, 0.000125)
PREFILL_BOUND = VllmEngine(name="vllm", device="cuda", slots=ACCELERATOR.sequences_max, threads=1).prefill_bound


@dataclass(slots=True, eq=False)
class Request:
    """One request: when it comes, whose it is, and how long it turns out to be (which only the engine knows)."""

    at: float
    tenant: str
    input_tokens: int
    output_tokens: int
    output_tokens_bound: int = 1024
    batch: bool = False
    read: int = 0
    made: int = 0
    dispatched_at: float = -1.0
    first_token_at: float = -1.0
    ended_at: float = -1.0


@dataclass(slots=True)
class Ledger:
    """The service of each tenant in each window of time."""

    served: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, at: float, tenant: str, *, input_tokens: int, output_tokens: int) -> None:
        """Note service as it is given."""
        service = INPUT_WEIGHT * input_tokens + OUTPUT_WEIGHT * output_tokens
        self.served[int(at // WINDOW_SECONDS)][tenant] += service


class SimulatedEngine:
    """Takes dispatched requests in their order and works on as many as its batch holds."""

    def __init__(
        self, profile: Profile, on_tokens: Callable[[Request], None], on_end: Callable[[Request], None]
    ) -> None:
        self.now = 0.0
        self.ledger = Ledger()
        self._profile = profile
        self._on_tokens = on_tokens
        self._on_end = on_end
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []

    @property
    def idle(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self._waiting and not self._running

    def submit(self, request: Request) -> None:
        """Take a request that was dispatched."""
        request.dispatched_at = self.now
        self._waiting.append(request)

    def step(self) -> None:
        """Compute one step: parts of prompts, and one token for each sequence whose prompt is computed."""
        profile, prompts = self._profile, 0
        while self._waiting and len(self._running) < profile.sequences_max:
            self._running.append(self._waiting.popleft())
        for request in self._running:
            part = min(request.input_tokens - request.read, profile.prompt_tokens, profile.step_tokens - prompts)
            request.read += part
            prompts += part
        self.now += profile.step_seconds + profile.sequence_seconds * len(self._running)
        self.now += profile.prompt_token_seconds * prompts
        running, self._running = self._running, []
        for request in running:
            if request.read < request.input_tokens:
                self._running.append(request)
                continue
            first = request.made == 0
            request.made += 1
            self.ledger.add(
                self.now, request.tenant, input_tokens=request.input_tokens if first else 0, output_tokens=1
            )
            if first:
                request.first_token_at = self.now
            self._on_tokens(request)
            if request.made < request.output_tokens:
                self._running.append(request)
            else:
                request.ended_at = self.now
                self._on_end(request)
