"""Text completions on the real engine: raw text without a template, prompt after prompt, and no control tokens."""

import pytest
from local_engine import LocalEngine

from finpool.serving.errors import EngineRefused

TEXT = "The capital of France is"


def test_the_text_itself_is_continued_without_a_template(local_engine: LocalEngine) -> None:
    body = {"prompt": [TEXT], "max_tokens": 1, "temperature": 0}
    conversation = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 1}
    assert local_engine.count_input_tokens(body) == len(["The", " capital", " of", " France", " is"])
    assert local_engine.count_input_tokens(conversation) > local_engine.count_input_tokens(body)


def test_several_prompts_are_answered_as_each_for_itself(local_engine: LocalEngine) -> None:
    prompts = [TEXT, "One, two,", "银行"]
    steering = {"max_tokens": 6, "seed": 7, "temperature": 1.0, "n": 2}
    together = local_engine.complete({"prompt": prompts, **steering})
    alone = [local_engine.complete({"prompt": [prompt], **steering}) for prompt in prompts]
    assert sorted(together.choices) == list(range(6))
    for index, said in together.choices.items():
        assert said.text == alone[index // 2].choices[index % 2].text
        assert said.finish is not None
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert together.usage[name] == sum(answer.usage[name] for answer in alone)


@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>"])
def test_the_text_of_a_control_token_costs_its_whole_spelling(local_engine: LocalEngine, token: str) -> None:
    def counted(times: int) -> int:
        body = {"prompt": ["a" + token * times], "max_tokens": 1, "temperature": 0}
        charged: int = local_engine.complete(body).usage["prompt_tokens"]
        assert charged == local_engine.count_input_tokens(body)
        return charged

    assert counted(2) - counted(1) >= 4
    assert counted(5) - counted(2) == 3 * (counted(2) - counted(1))


def test_a_stop_string_ends_a_choice_before_it(local_engine: LocalEngine) -> None:
    body = {"prompt": [TEXT], "max_tokens": 24, "temperature": 0}
    text = local_engine.complete(body).choices[0].text
    stop = text[len(text) // 2 :][:3]
    said = local_engine.complete({**body, "stop": [stop]}).choices[0]
    assert (said.text, said.finish) == (text[: text.index(stop)], "stop")


def test_a_prompt_beyond_the_context_is_refused_by_name(local_engine: LocalEngine) -> None:
    with pytest.raises(EngineRefused) as refused:
        local_engine.complete({"prompt": ["bank " * 3000], "max_tokens": 1})
    assert refused.value.body()["error"]["code"] == "context_length_exceeded"
    assert refused.value.param == "prompt"
