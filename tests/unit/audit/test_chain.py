"""The chain of entries: any change of it is found."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.audit.schemas import FIRST_PREVIOUS, Entry, canonical_entry, chain_hash, verify_chain

AT = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)


def chain(length: int) -> list[Entry]:
    entries, previous = [], FIRST_PREVIOUS
    for seq in range(length):
        tenant_id = None if seq % 3 == 0 else f"bank-{seq % 2}"
        text = canonical_entry(seq=seq, occurred_at=AT, kind="key.revoked", tenant_id=tenant_id, body={"n": seq})
        hashed = chain_hash(previous, text)
        entries.append(
            Entry(seq=seq, tenant_id=tenant_id, entry=text.decode(), previous=previous.hex(), hash=hashed.hex())
        )
        previous = hashed
    return entries


def rehashed(entry: Entry, text: str) -> Entry:
    hashed = chain_hash(bytes.fromhex(entry.previous), text.encode()).hex()
    return entry.model_copy(update={"entry": text, "hash": hashed})


def test_an_entry_is_canonical_json_with_a_utc_time() -> None:
    text = canonical_entry(seq=0, occurred_at=AT, kind="a.b", tenant_id=None, body={"z": 1, "a": "é"})
    assert text.decode() == (
        '{"body":{"a":"é","z":1},"kind":"a.b","occurred_at":"2026-03-01T12:30:00.250000Z","seq":0,"tenant_id":null}'
    )


@given(length=st.integers(0, 12))
def test_an_untouched_chain_verifies(length: int) -> None:
    assert verify_chain(chain(length)) is None


@given(cut=st.integers(0, 12))
def test_a_chain_verifies_in_parts_as_it_does_whole(cut: int) -> None:
    entries = chain(12)
    previous = entries[cut - 1].hash if cut else FIRST_PREVIOUS.hex()
    assert verify_chain(entries[:cut]) is None
    assert verify_chain(entries[cut:], first_seq=cut, previous=previous) is None
    assert verify_chain(entries[cut:], first_seq=cut, previous="0" * 63 + "1") == (cut if cut < 12 else None)


@given(
    data=st.data(),
    field=st.sampled_from(["seq", "tenant_id", "entry", "previous", "hash"]),
    value=st.one_of(st.none(), st.integers(-1, 20), st.text(max_size=80), st.binary(min_size=32, max_size=32)),
)
def test_a_changed_field_is_found_where_it_was_changed(data: st.DataObject, field: str, value: object) -> None:
    entries = chain(6)
    index = data.draw(st.integers(0, 5))
    changed: Any = value.hex() if isinstance(value, bytes) else value
    if field == "seq" and not isinstance(changed, int):
        changed = index + 1
    if field in ("entry", "previous", "hash", "tenant_id") and not isinstance(changed, str):
        changed = "other"
    if changed == getattr(entries[index], field):
        return
    entries[index] = entries[index].model_copy(update={field: changed})
    assert verify_chain(entries) == index


@given(index=st.integers(0, 4), byte=st.integers(0, 40), flip=st.integers(1, 127))
def test_an_entry_that_is_changed_and_hashed_anew_is_found(index: int, byte: int, flip: int) -> None:
    entries = chain(6)
    text = bytearray(entries[index].entry.encode())
    text[byte] ^= flip
    entries[index] = rehashed(entries[index], text.decode("latin-1"))
    assert verify_chain(entries) in (index, index + 1)


@given(index=st.integers(0, 5))
def test_a_removed_entry_is_found_unless_it_was_the_last(index: int) -> None:
    entries = chain(6)
    del entries[index]
    assert verify_chain(entries) == (index if index < 5 else None)


@given(order=st.permutations(range(5)))
def test_entries_in_another_order_are_found(order: list[int]) -> None:
    entries = chain(5)
    shuffled = [entries[index] for index in order]
    moved = next((place for place, index in enumerate(order) if place != index), None)
    assert verify_chain(shuffled) == moved


def test_an_entry_attributed_to_another_tenant_in_its_column_is_found() -> None:
    entries = chain(3)
    entries[1] = entries[1].model_copy(update={"tenant_id": "bank-9"})
    assert verify_chain(entries) == 1


@pytest.mark.parametrize("text", ["[]", "7", "null", "{}", "not json"])
def test_text_that_is_no_entry_is_found_even_when_its_hash_is_right(text: str) -> None:
    entries = chain(2)
    entries[1] = rehashed(entries[1], text)
    assert orjson.loads(entries[0].entry)["seq"] == 0
    assert verify_chain(entries) == 1
