"""Events are the same however the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.serving.errors import EngineFailed
from finpool.serving.transport.sse import EVENT_BYTES_MAX, EventDecoder

line_ends = st.sampled_from([b"\n", b"\r\n"])
payloads = st.lists(st.binary(max_size=40).filter(lambda data: not set(data) & set(b"\r\n")), min_size=1, max_size=3)
noise = st.sampled_from([b"", b": ping", b"event: x", b"id: 7"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Draw a stream and the events that are in it."""
    stream, expected = b"", []
    for _ in range(draw(st.integers(0, 6))):
        end = draw(line_ends)
        comment = draw(noise)
        if comment:
            stream += comment + end
        lines = draw(payloads)
        stream += b"".join(b"data: " + line + end for line in lines) + end
        expected.append(b"\n".join(lines))
    return stream, expected


@given(streams(), st.data())
def test_events_do_not_depend_on_where_the_stream_is_cut(case: tuple[bytes, list[bytes]], data: st.DataObject) -> None:
    stream, expected = case
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = EventDecoder()
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += decoder.feed(stream[start:end])
    assert events == expected


def test_an_event_counts_only_when_it_is_complete() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [b"a"]


def test_a_data_line_needs_no_space() -> None:
    assert EventDecoder().feed(b"data:a\n\n") == [b"a"]


ONE_LINE = b"data: x" + b"x" * EVENT_BYTES_MAX
MANY_LINES = (b"data: " + b"x" * 128 + b"\n") * (EVENT_BYTES_MAX // 128 + 1)


@pytest.mark.parametrize("endless", [ONE_LINE, MANY_LINES], ids=["one line", "many lines"])
def test_an_event_without_end_is_an_error(endless: bytes) -> None:
    with pytest.raises(EngineFailed):
        EventDecoder().feed(endless)
