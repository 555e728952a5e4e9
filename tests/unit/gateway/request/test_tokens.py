"""The bound of a text's tokens holds for its normal form as well, in a time that grows with its length only."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.request.tokens import tokens_bound

PIECES = st.sampled_from(["a", " ", "é", "e\u0301", "\u0323", "\u0301", "銀", "\ufdfa", "\u1100", "\u1161", "각", "ﬁ"])


@given(st.lists(PIECES, max_size=300).map("".join))
def test_the_normal_form_has_no_more_bytes_than_the_bound(text: str) -> None:
    assert tokens_bound(text) >= max(len(each.encode()) for each in (text, unicodedata.normalize("NFKC", text)))


@pytest.mark.parametrize(
    "text",
    [
        "銀行は開いている。" * 50,
        "Crédit à taux fixe " * 50,
        "은행이 열려 있다 " * 50,
        "Банк открыт " * 50,
        "ﬁnance " * 50,
    ],
)
def test_the_bound_of_usual_texts_is_exactly_their_bytes(text: str) -> None:
    normal = len(unicodedata.normalize("NFKC", text).encode())
    assert tokens_bound(text) == max(normal, len(text.encode()))


def test_a_text_of_accents_takes_no_longer_than_one_of_letters() -> None:
    """Half a million accents in the wrong order took minutes; both take some milliseconds."""

    def seconds(text: str) -> float:
        began = time.thread_time()
        tokens_bound(text)
        return time.thread_time() - began

    assert seconds("a" + "\u0301\u0323" * 100_000) < 100 * seconds("é銀" * 100_000)
