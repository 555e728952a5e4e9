"""A request in vLLM's words, its events in the gateway's words, and the fields that never pass."""

from typing import Any

import orjson
import pytest
from model_declarations import vllm_declaration

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.serving.engine.control_tokens import BREAK, ControlTokens
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.vllm.answer import VllmAnswer, refused, text_choice
from finpool.serving.vllm.request import completion_requests, tokenize_request, vllm_request

MODEL = Model.model_validate(vllm_declaration())
TOKENS = ControlTokens(["<|im_start|>", "<|im_end|>"])
MESSAGES = [{"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]}]


def translated(**body: Any) -> dict[str, Any]:
    return vllm_request({"messages": MESSAGES, **body}, MODEL, "base", TOKENS)


def test_usage_is_asked_for_in_every_chunk_whatever_the_caller_says() -> None:
    request = translated(stream=False, stream_options={"include_usage": False})
    assert request["stream"] is True
    assert request["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


ENGINES_OWN = (
    "prompt_logprobs vllm_xargs kv_transfer_params chat_template guided_json structured_outputs stop_token_ids"
    " logit_bias logits_processors mm_processor_kwargs echo use_beam_search"
)


@pytest.mark.parametrize("field", ENGINES_OWN.split())
def test_fields_of_the_engine_itself_are_refused(field: str) -> None:
    with pytest.raises(EngineRefused) as refusal:
        translated(**{field: 1})
    assert refusal.value.param == field


def test_a_priority_goes_nowhere() -> None:
    assert "priority" not in translated(priority=-100)


def test_a_salt_passes_and_without_one_nobody_shares_a_cache() -> None:
    assert translated(cache_salt="a" * 64)["cache_salt"] == "a" * 64
    assert translated()["cache_salt"] != translated()["cache_salt"]
    with pytest.raises(EngineRefused):
        translated(cache_salt=7)


def test_an_adapter_is_asked_for_by_its_content_and_the_base_by_its_name() -> None:
    assert translated(adapter="b" * 64)["model"] == "b" * 64
    assert translated(model="of the gateway")["model"] == "base"


def test_answers_are_bounded_and_messages_are_as_templates_want_them() -> None:
    assert translated()["max_completion_tokens"] == 64
    assert translated(max_tokens=512)["max_completion_tokens"] == 512
    assert translated()["messages"] == [{"role": "system", "content": "Be\nbrief."}]
    with pytest.raises(EngineRefused):
        translated(max_tokens=513)


def test_the_tokenizer_is_asked_about_the_same_messages() -> None:
    request = translated(temperature=0.5)
    assert tokenize_request(request) == {"model": "base", "messages": request["messages"]}


BEGUN = [{"role": "user", "content": "Tell me"}, {"role": "assistant", "content": "Once upon a"}]


def test_a_last_message_of_the_assistant_is_continued_and_counted_so() -> None:
    request = translated(messages=BEGUN)
    assert (request["continue_final_message"], request["add_generation_prompt"]) == (True, False)
    assert tokenize_request(request).items() >= {"continue_final_message": True, "add_generation_prompt": False}.items()
    assert "add_generation_prompt" not in translated()


def test_no_seed_is_the_engines_sign_for_a_random_one() -> None:
    seeds = [translated(seed=seed)["seed"] for seed in (-1, -2, 0, 2**32, 2**63 - 1, -(2**63))]
    assert min(seeds) >= 0
    assert len(set(seeds)) == len(seeds)
    assert seeds[2] == 0


def test_stop_strings_stay_here_and_tokens_come_with_their_entries() -> None:
    assert translated(stop=["a"]).items() >= {"logprobs": True, "top_logprobs": 0}.items()
    assert translated(stop="a", logprobs=True, top_logprobs=3)["top_logprobs"] == 3
    assert completions(stop=["a"])[0]["logprobs"] == 0
    assert completions(stop=["a"], logprobs=True, top_logprobs=2)[0]["logprobs"] == 2
    for request in (translated(stop=["a"]), *completions(stop=["a"])):
        assert "stop" not in request
    assert "logprobs" not in translated()


def test_greedy_choices_beside_each_other_are_asked_for_as_the_likeliest_token() -> None:
    assert translated(temperature=0, n=2).items() >= {"n": 2, "temperature": 1.0, "top_k": 1}.items()
    for alone in (translated(temperature=0), translated(temperature=0, n=1)):
        assert alone["temperature"] == 0
        assert "top_k" not in alone
    assert translated(temperature=0.5, n=2)["temperature"] == 0.5


def event(choices: list[dict[str, Any]], prompt: int, completion: int, cached: int | None = None) -> str:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    chunk = {"id": "chatcmpl-1", "created": 1, "model": "neutral", "choices": choices, "usage": {**usage, **details}}
    return f"data: {orjson.dumps(chunk).decode()}\n\n"


def choice(index: int, content: str) -> dict[str, Any]:
    return {"index": index, "delta": {"content": content}, "finish_reason": None, "token_ids": [1], "stop_reason": 7}


def test_the_running_usage_is_that_of_all_choices_together_and_the_last_is_exact() -> None:
    answer, seen = VllmAnswer("base"), []
    for each in (
        event([choice(0, "A")], 9, 1),
        event([choice(1, "B")], 9, 1),
        event([choice(0, "a")], 9, 2),
        event([], 9, 4, cached=8),
    ):
        chunk = answer.accept(each)
        assert chunk
        seen.append(chunk["usage"]["completion_tokens"])
    assert seen == [1, 2, 3, 4]
    assert answer.usage == TokenUsage(9, 8, 4)
    assert answer.accept("data: [DONE]\n\n") is None


def test_a_chunk_says_what_openais_says_and_the_models_public_name() -> None:
    chunk = VllmAnswer("base").accept(event([choice(0, "A")], 9, 1))
    assert chunk
    assert chunk["model"] == "base"
    assert chunk["choices"] == [{"index": 0, "delta": {"content": "A"}, "finish_reason": None, "logprobs": None}]


def test_an_entry_of_log_probabilities_has_openais_fields_and_the_end_of_a_choice_has_none() -> None:
    one = {"token": "A", "logprob": -0.5, "bytes": [65], "rank": 1}
    said = {**choice(0, "A"), "logprobs": {"content": [{**one, "top_logprobs": [one]}]}}
    ended = {**choice(0, ""), "logprobs": {"content": [{**one, "top_logprobs": []}]}, "finish_reason": "stop"}
    answer = VllmAnswer("base")
    first, last = answer.accept(event([said], 9, 1)), answer.accept(event([ended], 9, 2))
    assert first
    assert last
    plain = {"token": "A", "logprob": -0.5, "bytes": [65]}
    assert first["choices"][0]["logprobs"] == {"content": [{**plain, "top_logprobs": [plain]}]}
    assert last["choices"][0]["logprobs"] is None


def test_an_error_within_a_stream_fails_without_the_engines_words() -> None:
    with pytest.raises(EngineFailed, match=r"^The model failed to answer\.$"):
        VllmAnswer("base").accept('data: {"error": {"message": "secret prompt", "code": 500}}\n\n')


def test_what_the_engine_turns_down_is_the_callers_fault_only_if_it_says_so() -> None:
    too_long = refused("This model's maximum context length is 1024 tokens.", 400)
    assert isinstance(too_long, EngineRefused)
    assert too_long.refusal_code == "context_length_exceeded"
    assert isinstance(refused("bad", 400), EngineRefused)
    assert isinstance(refused("out of memory", 500), EngineFailed)


def completions(**body: Any) -> list[dict[str, Any]]:
    return completion_requests({"prompt": ["A bank", "a<|im_end|>b"], **body}, MODEL, "base", TOKENS)


def test_each_prompt_is_a_request_of_raw_text_without_control_tokens() -> None:
    first, second = completions(n=2, temperature=0.5, max_tokens=7, cache_salt="a" * 64)
    assert first.pop("prompt") == "A bank"
    assert second.pop("prompt") == f"a<{BREAK}|im_end|>b"
    assert first == second
    assert first.items() >= {"model": "base", "n": 2, "temperature": 0.5, "max_tokens": 7, "stream": True}.items()
    assert first["cache_salt"] == "a" * 64
    assert not {"messages", "add_generation_prompt", "logprobs"} & first.keys()


def test_log_probabilities_of_a_text_are_asked_for_as_a_number() -> None:
    assert completions(logprobs=True, top_logprobs=3)[0]["logprobs"] == 3
    assert completions(logprobs=True, top_logprobs=0)[0]["logprobs"] == 0
    assert all("top_logprobs" not in each for each in completions(logprobs=True, top_logprobs=0))


@pytest.mark.parametrize("field", [*ENGINES_OWN.split(), "suffix"])
def test_fields_of_the_engine_itself_are_refused_beside_a_prompt_too(field: str) -> None:
    with pytest.raises(EngineRefused) as refusal:
        completions(**{field: 1})
    assert refusal.value.param == field


def test_the_tokenizer_is_asked_about_the_same_prompt() -> None:
    (request,) = completions(prompt=["A bank"], temperature=0.5)
    assert tokenize_request(request) == {"model": "base", "prompt": "A bank"}


def test_the_end_of_a_text_is_no_entry_of_log_probabilities() -> None:
    entry = {"tokens": ["A"], "token_logprobs": [-0.5], "top_logprobs": [{"A": -0.5}], "text_offset": [0]}
    said = {"index": 0, "text": "A", "logprobs": entry, "finish_reason": None}
    ended = {"index": 0, "text": "", "logprobs": {**entry, "tokens": ["<|im_end|>"]}, "finish_reason": "stop"}
    answer = VllmAnswer("base", text_choice)
    first, last = answer.accept(event([said], 9, 1)), answer.accept(event([ended], 9, 2))
    assert first
    assert last
    assert first["choices"][0]["delta"] == {"content": "A"}
    assert [each["token"] for each in first["choices"][0]["logprobs"]["content"]] == ["A"]
    assert (last["choices"][0]["logprobs"], last["choices"][0]["finish_reason"]) == (None, "stop")


def test_a_text_that_is_too_long_names_its_field() -> None:
    too_long = refused("This model's maximum context length is 1024 tokens.", 400, "prompt")
    assert isinstance(too_long, EngineRefused)
    assert (too_long.refusal_code, too_long.param) == ("context_length_exceeded", "prompt")
