"""The operations of the gateway, as usage records them."""

from finpool.metering.usage.schemas import EMBEDDING_OPERATIONS
from finpool.serving.schemas import Operation


def test_vectors_and_scores_count_as_embeddings_and_every_operation_that_writes_text_as_completions() -> None:
    assert {each for each in Operation if each.value in EMBEDDING_OPERATIONS} == {Operation.EMBED, Operation.RERANK}
    assert len(EMBEDDING_OPERATIONS) == 2
