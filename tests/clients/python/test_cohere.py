"""Cohere's client, for rankings."""

import cohere
import demo
import documented
import pytest

EXAMPLES = documented.blocks("Cohere")
QUERY = "Who takes deposits?"
DOCUMENTS = ["The sky is blue.", "A bank takes deposits.", "Rain falls in spring."]


class TestExample:
    @pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
    def test_the_documented_example_prints_an_answer(self, block: str) -> None:
        assert documented.printed(block).strip()


class TestRankings:
    @pytest.mark.parametrize("kind", [cohere.Client, cohere.ClientV2])
    def test_the_best_document_comes_first(self, kind: type[cohere.Client | cohere.ClientV2]) -> None:
        bank = kind(api_key=demo.KEY, base_url=demo.ADDRESS)
        ranked = bank.rerank(model=demo.RANKS, query=QUERY, documents=DOCUMENTS, top_n=2)
        assert ranked.results[0].index == 1
        assert len(ranked.results) == 2
        assert ranked.meta is not None

    async def test_the_asynchronous_client_gets_rankings_too(self) -> None:
        async with cohere.AsyncClientV2(api_key=demo.KEY, base_url=demo.ADDRESS) as bank:
            ranked = await bank.rerank(model=demo.RANKS, query=QUERY, documents=DOCUMENTS)
        assert len(ranked.results) == len(DOCUMENTS)
