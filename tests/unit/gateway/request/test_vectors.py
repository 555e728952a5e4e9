"""What requests for embeddings and rankings may say, and the most tokens that they can be."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pooling_models import pooling_declaration

from finpool.catalogue.model.schemas import Model
from finpool.gateway.errors import InvalidValue, UnsupportedParameter
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.intake import parse_request
from finpool.gateway.request.tokens import SPECIAL_TOKENS_MAX, tokens_bound
from finpool.gateway.request.vectors import PAIR_TOKENS_MAX, EmbeddingRequest, RerankRequest
from finpool.serving.engine.control_tokens import ControlTokens


def test_one_text_is_a_list_of_one() -> None:
    assert parse_request(b'{"model": "m", "input": "text"}', EmbeddingRequest).engine_body() == {"input": ["text"]}


def test_token_arrays_are_refused_with_what_to_do_instead() -> None:
    for tokens in (b"[1, 2]", b"[[1, 2]]"):
        with pytest.raises(UnsupportedParameter, match="check_embedding_ctx_length=False"):
            parse_request(b'{"model": "m", "input": ' + tokens + b"}", EmbeddingRequest)


@pytest.mark.parametrize("wrong", [b"5", b"null", b"{}", b"true"])
def test_anything_but_texts_is_told_both_forms_that_are_taken(wrong: bytes) -> None:
    for field, request in (("input", EmbeddingRequest), ("prompt", CompletionRequest)):
        with pytest.raises(InvalidValue, match=f"'{field}': it must be a text or a list of texts"):
            parse_request(b'{"model": "m", "%s": %s}' % (field.encode(), wrong), request)


def model(kind: str, context_tokens: int, **engine: str) -> Model:
    declared = pooling_declaration("m", kind, context_tokens=context_tokens)
    return Model.model_validate({**declared, "engine": {**declared["engine"], **engine}})


def test_each_input_is_bounded_by_its_bytes_and_by_the_context() -> None:
    asked = EmbeddingRequest(model="m", input=["abc", "银行", "x" * 5000])
    assert asked.input_tokens_bound(model("embedding", 1000)) == 3 + 6 + 2 * SPECIAL_TOKENS_MAX + 1000


def test_the_texts_that_a_model_puts_before_an_input_are_bounded_with_it() -> None:
    asked = EmbeddingRequest(model="m", input=["abc"])
    assert asked.input_tokens_bound(model("embedding", 1000, query_prefix="q: ")) == 3 + 3 + SPECIAL_TOKENS_MAX
    ranked = RerankRequest(model="m", query="abcd", documents=["ab", "abc"])
    ranks = model("rerank", 1000, scoring="cosine", pooling="mean", query_prefix="q: ", document_prefix="p")
    assert ranked.input_tokens_bound(ranks) == 2 * (4 + 4 + PAIR_TOKENS_MAX) + 5


def test_a_query_is_counted_beside_each_document() -> None:
    asked = RerankRequest.model_validate({"model": "m", "query": "abcd", "documents": ["ab", {"text": "abc"}]})
    assert asked.input_tokens_bound(model("rerank", 10_000)) == 2 * (4 + PAIR_TOKENS_MAX) + 5
    assert asked.engine_body() == {"query": "abcd", "documents": ["ab", "abc"]}


# The fields of each client's request, with values of the client's own type.
RANKING_FIELDS: dict[str, dict[str, Any]] = {
    "cohere ClientV2.rerank": {
        "top_n": 1,
        "max_tokens_per_doc": 512,
        "relevant_spans": {"enabled": True},
        "priority": 1,
        "return_documents": True,
    },
    "cohere Client.rerank": {
        "top_n": 1,
        "rank_fields": ["title"],
        "return_documents": True,
        "max_chunks_per_doc": 2,
    },
    "Jina": {
        "top_n": 1,
        "return_documents": False,
        "truncation": True,
        "max_doc_length": 512,
        "max_query_length": 64,
        "return_embeddings": True,
    },
    "vLLM": {
        "top_n": 1,
        "user": "u",
        "truncate_prompt_tokens": -1,
        "truncation_side": "left",
        "padding": "max_length",
        "use_activation": False,
        "activation": False,
        "mm_processor_kwargs": {"a": 1},
        "request_id": "r",
        "cache_salt": "s",
        "priority": -1,
    },
}


SERVED = {"top_n", "return_documents", "user"}


@pytest.mark.parametrize("client", RANKING_FIELDS)
def test_every_field_of_a_ranking_client_is_known(client: str) -> None:
    ranking = {"model": "m", "query": "q", "documents": ["a"]}
    for name, value in RANKING_FIELDS[client].items():
        parse_request(orjson.dumps({**ranking, name: None}), RerankRequest)
        if name in SERVED:
            parse_request(orjson.dumps({**ranking, name: value}), RerankRequest)
            continue
        with pytest.raises(UnsupportedParameter) as refused:
            parse_request(orjson.dumps({**ranking, name: value}), RerankRequest)
        assert refused.value.param == name


def test_one_document_is_a_list_of_one() -> None:
    ranking = parse_request(b'{"model": "m", "query": "q", "documents": "a"}', RerankRequest)
    assert ranking.engine_body() == {"query": "q", "documents": ["a"]}


@given(st.text(max_size=50))
def test_a_text_is_bounded_by_its_bytes_at_least(text: str) -> None:
    assert tokens_bound(text) >= len(text.encode())


@given(st.lists(st.sampled_from(["<s>", "[INST]", "a", "é"]), min_size=1).map("".join))
def test_the_bytes_that_engines_put_into_control_tokens_are_bounded_too(text: str) -> None:
    broken = ControlTokens(["<s>", "[INST]"]).broken(text)
    assert tokens_bound(text) >= len(broken.encode())


def test_a_sign_that_is_written_out_counts_as_what_it_becomes() -> None:
    assert tokens_bound("\ufdfa") >= 18


@pytest.mark.parametrize("name", ["encoding_format", "dimensions", "user"])
def test_null_is_not_given_in_a_request_for_embeddings(name: str) -> None:
    body = orjson.dumps({"model": "m", "input": ["a"], name: None})
    assert parse_request(body, EmbeddingRequest).engine_body() == {"input": ["a"]}


@pytest.mark.parametrize("name", ["top_n", "return_documents", "user"])
def test_null_is_not_given_in_a_request_for_a_ranking(name: str) -> None:
    body = orjson.dumps({"model": "m", "query": "q", "documents": ["a"], name: None})
    assert parse_request(body, RerankRequest).engine_body() == {"query": "q", "documents": ["a"]}


@pytest.mark.parametrize(("given", "param"), [("", "input"), ([], "input"), (["a", ""], "input[1]"), (None, "input")])
def test_an_input_without_text_is_refused_by_name(given: object, param: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_request(orjson.dumps({"model": "m", "input": given}), EmbeddingRequest)
    assert refused.value.param == param
