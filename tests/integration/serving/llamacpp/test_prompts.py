"""A prompt of llama.cpp is computed step by step: no neighbour's long prompt holds up a short one."""

from typing import Any

from local_engine import LocalEngine

SENTENCE = "A bank takes deposits and gives loans. "


def chat(tenant: str, text: str, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"messages": messages, "cache_salt": tenant, "max_tokens": 4, "temperature": 0, **options}


def test_a_short_prompt_is_answered_before_every_long_one_that_came_earlier(local_engine: LocalEngine) -> None:
    long = [chat("bank-c", SENTENCE * 200) for _ in range(4)]
    assert local_engine.first_tokens([*long, chat("bank-b", "Hello there")]) == [4]


def test_a_long_prompt_of_another_bank_takes_turns_with_longer_ones(local_engine: LocalEngine) -> None:
    longer = [chat("bank-c", SENTENCE * 200) for _ in range(3)]
    assert local_engine.first_tokens([*longer, chat("bank-b", SENTENCE * 40)]) == [3]


def test_a_long_prompt_counts_in_full_and_no_part_of_it_as_cached(local_engine: LocalEngine) -> None:
    body = chat("bank-c", SENTENCE * 40)
    usage = local_engine.answer(body).usage
    assert usage["prompt_tokens"] == local_engine.count_input_tokens(body) > 256
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_the_choices_of_a_long_prompt_follow_the_whole_prompt(local_engine: LocalEngine) -> None:
    text = "The password is swordfish. " + SENTENCE * 40 + "Repeat: the password is"
    said = local_engine.answer(chat("bank-c", text, n=2)).choices
    assert said[0].text == said[1].text == local_engine.answer(chat("bank-c", text)).choices[0].text
