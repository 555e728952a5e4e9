"""Prompts before an engine: a bounded part of a step for all, the rest for newcomers."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from finpool.catalogue.model.prefill_bound import PrefillBound
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.turn import Turn, Waiting
from finpool.kernel.ids import TenantId

BOUND = PrefillBound(prompt_tokens=100, shared_tokens=400, express_tokens=400)
LONG, SHORT = 1000, 20


class Prompts:
    """The turns of each tenant whose prompt the engine computes, and those that generate."""

    def __init__(self, in_flight_max: int = 8) -> None:
        self.scheduler = FairScheduler(in_flight_max, express_max=1, prefill_bound=BOUND, predicts=False)
        self.computing: deque[tuple[str, Turn]] = deque()
        self.generating: list[tuple[str, Turn]] = []

    def ask(self, tenant: str, tokens: int, *, choices: int = 1, prompts: int = 1) -> Waiting:
        bound = LengthBound(tokens, 16, choices, prompts)
        waiting = Waiting(bound, lambda turn: self.computing.append((tenant, turn)), batch=False)
        self.scheduler.arrive(TenantId(tenant), waiting)
        self.scheduler.dispatch()
        return waiting

    def first_token(self) -> None:
        tenant, turn = self.computing.popleft()
        self.generating.append((tenant, turn))
        self.scheduler.use(turn, input_tokens=10, output_tokens=1)

    def end(self) -> None:
        _, turn = self.generating.pop()
        self.scheduler.end(turn, input_tokens=10, output_tokens=2)
        self.scheduler.dispatch()

    @property
    def tenants(self) -> list[str]:
        return [tenant for tenant, _ in self.computing]


def test_long_prompts_leave_room_in_a_step_and_a_newcomers_prompt_takes_it_at_once() -> None:
    prompts = Prompts()
    for _ in range(8):
        prompts.ask("C", LONG)
    assert prompts.tenants == ["C"] * 4
    prompts.ask("B", LONG)
    assert prompts.tenants == ["C"] * 4 + ["B"]
    prompts.ask("B", LONG)
    assert prompts.tenants == ["C"] * 4 + ["B"]


def test_the_next_prompt_begins_with_the_first_token_of_another_and_not_with_its_end() -> None:
    prompts = Prompts()
    for _ in range(5):
        prompts.ask("C", LONG)
    prompts.first_token()
    assert prompts.tenants == ["C"] * 4
    assert len(prompts.generating) == 1


def test_a_bank_whose_answers_run_is_a_newcomer_with_its_next_prompt() -> None:
    prompts = Prompts()
    prompts.ask("B", SHORT)
    prompts.first_token()
    for _ in range(6):
        prompts.ask("C", LONG)
    prompts.ask("B", SHORT)
    assert prompts.tenants == ["C"] * 4 + ["B"]


def test_a_small_prompt_of_the_same_bank_does_not_pass_a_long_one() -> None:
    prompts = Prompts()
    for _ in range(5):
        prompts.ask("C", LONG)
    prompts.ask("C", 1)
    assert len(prompts.computing) == 4


def test_each_choice_fills_its_part_of_a_step() -> None:
    prompts = Prompts()
    prompts.ask("C", LONG, choices=4)
    prompts.ask("C", LONG)
    assert prompts.tenants == ["C"]


def test_the_later_prompts_of_a_text_completion_count_until_its_end() -> None:
    prompts = Prompts()
    prompts.ask("C", LONG, prompts=3, choices=4)
    prompts.ask("C", LONG)
    prompts.first_token()
    assert not prompts.computing
    prompts.end()
    assert prompts.tenants == ["C"]


def test_a_request_that_left_gives_its_part_back() -> None:
    prompts = Prompts()
    for _ in range(5):
        prompts.ask("C", LONG)
    _, turn = prompts.computing.popleft()
    prompts.scheduler.end(turn, input_tokens=0, output_tokens=0)
    prompts.scheduler.dispatch()
    assert len(prompts.computing) == 4


def test_a_gateway_with_a_part_of_the_slots_fills_that_part_of_a_step() -> None:
    prompts = Prompts()
    prompts.scheduler.limit(4, 0)
    for _ in range(4):
        prompts.ask("C", LONG)
    assert len(prompts.computing) == 2
    prompts.scheduler.limit(1, 0)
    assert prompts.ask("B", SHORT) is not None


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, LONG), st.integers(0, 2)), max_size=60))
def test_every_request_is_served_and_no_step_is_overfull(asked: list[tuple[str, int, int]]) -> None:
    prompts, served = Prompts(), 0
    for tenant, tokens, finished in asked:
        prompts.ask(tenant, tokens)
        in_step = [min(100, turn.length_bound.input_tokens_bound) for _, turn in prompts.computing]
        assert sum(in_step) <= BOUND.shared_tokens + BOUND.express_tokens
        for _ in range(min(finished, len(prompts.computing))):
            prompts.first_token()
            prompts.end()
            served += 1
    while prompts.computing:
        prompts.first_token()
        prompts.end()
        served += 1
    assert served == len(asked)
