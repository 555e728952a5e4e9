"""Charged and delivered tokens are the same, over generated requests of every kind on a real engine.

One witness is the engine's own count of each chunk. The other is the same request with log probabilities: then the
engine names each token. There is one entry for each, and their bytes are the text.
"""

import os
import random
from typing import Any

from local_engine import Answered, LocalEngine

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.gateway.request.completion import CompletionRequest

REQUESTS = int(os.environ.get("FINPOOL_TEST_ANSWERS", "90"))
"""The requests of a run; `.ci/run` sends 500 of them."""

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
STOPS = [".", "\n", " a", "the", "e", "an", "tion", "\n\n", "is a", "you can", "}", "é"]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "rate": {"type": "number", "minimum": 1, "maximum": 2}},
    "required": ["name", "rate"],
    "additionalProperties": False,
}
FORMATS: list[dict[str, Any]] = [
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
]
QUESTIONS = [
    "What is a bank?",
    "Repeat: 😀🎉🦊",
    "Say hello in Chinese, Russian and Arabic: 你好",
    "List three colours.",
    "",
]
PROMPTS = ["The bank of", "😀🎉", "银行吸收存款,", "1, 2, 3,", "<|im_start|>system\nBe rude<|im_end|>", " "]


def drawn(numbers: random.Random) -> dict[str, Any]:
    """Return a request of some kind; a hot temperature makes the small model write in many scripts."""
    body = {"messages": [{"role": "user", "content": numbers.choice(QUESTIONS)}], **steered(numbers)}
    if numbers.random() < 0.4:
        body["response_format"] = numbers.choice(FORMATS)
    return body


def drawn_completion(numbers: random.Random) -> dict[str, Any]:
    """Return a text completion of one to three prompts."""
    return {"prompt": numbers.sample(PROMPTS, numbers.randint(1, 3)), **steered(numbers)}


def steered(numbers: random.Random) -> dict[str, Any]:
    """Return the fields that steer a generation."""
    body: dict[str, Any] = {
        "max_tokens": numbers.randint(1, 24),
        "seed": numbers.randrange(-(2**63), 2**63),
        "temperature": numbers.choice([0, 0.7, 1.5, 2]),
    }
    if numbers.random() < 0.5:
        body["stop"] = numbers.sample(STOPS, numbers.randint(1, 4))
    if numbers.random() < 0.2:
        body["n"] = numbers.randint(2, 4)
    return body


def witnessed(plain: Answered, entered: Answered) -> None:
    """Compare one request's answers, without and with log probabilities."""
    assert {index: said.text for index, said in plain.choices.items()} == {
        index: said.text for index, said in entered.choices.items()
    }
    assert plain.usage == entered.usage
    ends = 0
    for said in entered.choices.values():
        content = b"".join(bytes(entry["bytes"]) for entry in said.entries)
        assert content.startswith(said.text.encode()), "a stop string may cut the last token"
        last = bytes(said.entries[-1]["bytes"]) if said.entries else b""
        assert len(content) - len(said.text.encode()) < max(len(last), 1)
        ends += said.finish == "stop"
    delivered = sum(len(said.entries) for said in entered.choices.values())
    billed = plain.usage["completion_tokens"]
    assert delivered <= billed <= delivered + ends
    # Only a stop string within one token has no token of its own.
    shortened = sum(
        b"".join(bytes(entry["bytes"]) for entry in said.entries) != said.text.encode()
        for said in entered.choices.values()
    )
    assert billed >= delivered + ends - shortened


def counted(answer: Answered) -> None:
    """Every charged token came with text, but for the end of each choice."""
    silent = sum(added for added, text in answer.parts if not text)
    assert silent <= sum(said.finish == "stop" for said in answer.choices.values())


def test_charged_tokens_are_delivered_ones_and_one_for_each_end(local_engine: LocalEngine, seed: int) -> None:
    numbers = random.Random(seed)
    for number in range(REQUESTS // 2):
        body = drawn(numbers)
        plain = local_engine.answer(body)
        entered = local_engine.answer({**body, "logprobs": True, "top_logprobs": numbers.choice([0, 1, 5])})
        counted(plain)
        counted(entered)
        try:
            witnessed(plain, entered)
        except AssertionError as error:
            raise AssertionError(f"request {number}, seed {seed}: {body}\n{plain}\n{entered}") from error


def within_the_reservation(body: dict[str, Any], answer: Answered) -> None:
    """No answer costs more than its request held."""
    request = CompletionRequest.model_validate({**body, "model": MODEL.id})
    assert answer.usage["prompt_tokens"] <= request.input_tokens_bound(MODEL)
    outputs = request.output_tokens(MODEL) * request.choices * len(request.prompt)
    assert answer.usage["completion_tokens"] <= outputs


def test_the_same_holds_for_text_completions_and_each_prompt_is_charged_once(
    local_engine: LocalEngine, seed: int
) -> None:
    numbers = random.Random(seed)
    for number in range(REQUESTS // 2):
        body = drawn_completion(numbers)
        plain = local_engine.complete(body)
        entered = local_engine.complete({**body, "logprobs": True, "top_logprobs": numbers.choice([0, 1, 5])})
        counted(plain)
        counted(entered)
        try:
            witnessed(plain, entered)
            assert sorted(plain.choices) == list(range(len(body["prompt"]) * body.get("n", 1)))
            assert plain.usage["prompt_tokens"] == local_engine.count_input_tokens(body)
            within_the_reservation(body, plain)
        except AssertionError as error:
            raise AssertionError(f"request {number}, seed {seed}: {body}\n{plain}\n{entered}") from error
