"""A last message of the assistant is continued on the real engine, and the answer holds the rest only."""

from typing import Any

from local_engine import LocalEngine

ASKED = {"role": "user", "content": "Tell me a story."}
BEGINNINGS = ("Once", "Once upon", "Once upon a")
GREEDY: dict[str, Any] = {"max_tokens": 8, "temperature": 0}


def ending(*last: str) -> dict[str, Any]:
    return {**GREEDY, "messages": [ASKED, *({"role": "assistant", "content": text} for text in last)]}


def test_the_answer_is_the_rest_of_the_message_and_the_prompt_holds_its_beginning(
    local_engine: LocalEngine,
) -> None:
    new = local_engine.answer(ending())
    begun = new.choices[0].text[:-1]
    rest = local_engine.answer(ending(begun))
    assert rest.usage["prompt_tokens"] > new.usage["prompt_tokens"]
    assert begun not in rest.choices[0].text
    counted = local_engine.count_input_tokens(ending(begun))
    assert counted == rest.usage["prompt_tokens"]


def test_each_more_token_of_the_beginning_is_one_more_of_the_prompt(local_engine: LocalEngine) -> None:
    prompts = [local_engine.count_input_tokens(ending(text)) for text in ("Once", "Once upon", "Once upon a")]
    assert prompts == [prompts[0], prompts[0] + 1, prompts[0] + 2]
    new = local_engine.count_input_tokens(ending())
    assert prompts[0] == new + 1, "no control token stands between the beginning and its rest"


def test_two_last_messages_of_the_assistant_are_two_and_one_without_text_is_none(
    local_engine: LocalEngine,
) -> None:
    new = local_engine.answer(ending())
    assert (local_engine.answer(ending(""))).choices[0].text == new.choices[0].text
    both = local_engine.count_input_tokens(ending("Once", "upon"))
    assert both > local_engine.count_input_tokens(ending("Once upon")) + 2
