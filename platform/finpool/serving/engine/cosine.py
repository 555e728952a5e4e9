"""Ranking with an embedding model: the cosine of the query's vector and each document's vector."""

from collections.abc import Sequence

from finpool.serving.engine.vectors import Compute, PieceResults
from finpool.serving.vectors import cosine, unpacked


class CosineScores:
    """The scores of one query's documents, computed in pieces; the first piece also embeds the query."""

    def __init__(self, embed: Compute, query: str) -> None:
        self._embed = embed
        self._query = query
        self._query_vector: list[float] | None = None

    async def __call__(self, piece: Sequence[str]) -> PieceResults:
        """Return a score for each document of the piece, and the input tokens read for them."""
        if self._query_vector is not None:
            computed = await self._embed(piece)
            vectors = [unpacked(each["embedding"]) for each in computed.results]
        else:
            computed = await self._embed([self._query, *piece])
            self._query_vector, *vectors = (unpacked(each["embedding"]) for each in computed.results)
        scores = [{"relevance_score": cosine(self._query_vector, vector)} for vector in vectors]
        return PieceResults(scores, computed.input_tokens)
