"""An answer ends before its first stop string, however the tokens cut it."""

import random

from finpool.serving.engine.stops import Piece, StopSearch


def shown(stops: list[str], tokens: list[str]) -> tuple[list[Piece], bool]:
    """Return the released pieces of a choice, and whether a stop string ended it."""
    search, released = StopSearch(stops), []
    for number, text in enumerate(tokens, 1):
        released += search.feed(Piece(text, number))
        if search.found:
            return released, True
    return released + search.flush(), False


def test_the_text_before_the_first_stop_string_is_shown_whatever_the_tokens(seed: int) -> None:
    numbers = random.Random(seed)
    for _ in range(500):
        stops = ["".join(numbers.choices("ab.", k=numbers.randint(1, 4))) for _ in range(numbers.randint(0, 3))]
        tokens = ["".join(numbers.choices("ab.", k=numbers.randint(1, 3))) for _ in range(numbers.randint(1, 12))]
        whole = "".join(tokens)
        positions = [whole.index(stop) for stop in stops if stop in whole]
        released, found = shown(stops, tokens)
        assert found == bool(positions)
        if len(stops) <= 1:
            assert "".join(piece.text for piece in released) == whole[: min(positions, default=len(whole))]
        assert all(stop not in "".join(piece.text for piece in released) for stop in stops)


def test_a_piece_keeps_its_count_and_its_probabilities_when_it_is_shortened() -> None:
    search = StopSearch(["st"])
    (piece,) = search.feed(Piece("last", 3, [{"token": "last"}]))
    assert (piece.text, piece.tokens, piece.logprobs) == ("la", 3, [{"token": "last"}])


def test_text_that_cannot_be_a_stop_string_waits_for_nothing() -> None:
    search = StopSearch(["end"])
    assert [piece.text for piece in search.feed(Piece("the e", 1))] == []
    assert [piece.text for piece in search.feed(Piece("astern", 2))] == ["the e", "astern"]
    assert not search.found
