"""Ranking with an embedding model: the cosine of the query's vector and each document's vector."""

from collections.abc import Sequence

from finpool.serving.engine.vectors import Compute, Pooled
from finpool.serving.vectors import cosine, unpacked


class CosineScores:
    """The scores of one query's documents, computed in pieces; the first piece also embeds the query."""

    def __init__(self, embed: Compute, query: str) -> None:
        self._embed = embed
        self._query = query
        self._query_vector: list[float] | None = None

    async def __call__(self, piece: Sequence[str]) -> Pooled:
        """Return a score for each document of the piece, and the input tokens read for them."""
        if self._query_vector is not None:
            pooled = await self._embed(piece)
            vectors = [unpacked(each["embedding"]) for each in pooled.results]
        else:
            pooled = await self._embed([self._query, *piece])
            self._query_vector, *vectors = (unpacked(each["embedding"]) for each in pooled.results)
        scores = [{"relevance_score": cosine(self._query_vector, vector)} for vector in vectors]
        return Pooled(scores, pooled.input_tokens)
