"""The largest number of tokens of a text, without a tokenizer."""

import re
import unicodedata

from finpool.gateway.request.generation import break_bytes_max

SPECIAL_TOKENS_MAX = 16
"""Tokens that a model may add to one input: its beginning, its end, a separator."""

_PIECE = re.compile(
    "(?P<whole>.{1,64}(?=[\x00-\x7f\u0400-\u04ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]|\\Z))|.{1,64}", re.DOTALL
)
"""Short pieces of a text, if possible each before a character that never joins the one before it.

Normalising sorts accents, in a time that grows with the square of their number: 40,000 of them took a second.
"""


def tokens_bound(text: str) -> int:
    """Return the largest number of tokens of a text, with the bytes that engines put into its control tokens.

    A byte-level tokenizer never makes more tokens than bytes. Some normalise first, and NFKC expands one character to
    up to eighteen.
    """
    content = text.encode()
    if text.isascii():
        return len(content) + break_bytes_max(content)
    return max(len(content), _normalised_bytes_max(text)) + break_bytes_max(content)


def _normalised_bytes_max(text: str) -> int:
    """Return at least the bytes of a text in NFKC, exactly those unless it has many accents in a row.

    A piece that ends within accents counts in NFKD, which is never shorter: no character is longer than its parts.
    """
    return sum(
        len(unicodedata.normalize("NFKC" if piece["whole"] else "NFKD", piece[0]).encode())
        for piece in _PIECE.finditer(text)
    )
