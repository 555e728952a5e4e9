"""The form of a credential, and its recognition."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.identity import credentials
from finpool.kernel.actor import Audience

PREFIXES = {Audience.TENANT: "fpk_", Audience.OPERATOR: "fpo_", Audience.REGULATOR: "fpr_"}


@pytest.mark.parametrize("audience", Audience)
def test_a_new_credential_has_its_doors_prefix_and_is_well_formed_at_that_door_only(audience: Audience) -> None:
    credential = credentials.new_credential(audience)
    assert re.fullmatch(PREFIXES[audience] + "[0-9A-Za-z]{36}", credential)
    assert [door for door in Audience if credentials.well_formed(credential, door)] == [audience]


def test_credentials_never_repeat() -> None:
    assert len({credentials.new_credential(Audience.TENANT) for _ in range(1000)}) == 1000


@given(position=st.integers(0, 39), replacement=st.sampled_from("0123456789ABCXYZabcxyz_-. \n€"))
def test_a_credential_with_one_wrong_character_is_not_well_formed(position: int, replacement: str) -> None:
    credential = credentials.new_credential(Audience.TENANT)
    mistyped = credential[:position] + replacement + credential[position + 1 :]
    assert credentials.well_formed(mistyped, Audience.TENANT) is (mistyped == credential)


@given(st.text(max_size=60))
def test_any_other_text_is_not_well_formed(text: str) -> None:
    assert not any(credentials.well_formed(text, audience) for audience in Audience)


def test_the_prefix_is_part_of_what_the_checksum_protects() -> None:
    credential = credentials.new_credential(Audience.TENANT)
    assert not credentials.well_formed(credential.replace("fpk_", "fpo_", 1), Audience.OPERATOR)


def test_a_trailing_newline_is_not_forgiven() -> None:
    assert not credentials.well_formed(credentials.new_credential(Audience.TENANT) + "\n", Audience.TENANT)


def test_a_digest_depends_on_the_credential_and_on_the_pepper() -> None:
    one, other = (credentials.new_credential(Audience.TENANT) for _ in range(2))
    digests = {credentials.digest(text, pepper) for text in (one, other) for pepper in (b"p" * 32, b"q" * 32)}
    assert len(digests) == 4
    assert {len(digest) for digest in digests} == {32}
    assert credentials.digest(one, b"p" * 32) in digests


def test_a_hint_is_the_last_four_characters() -> None:
    credential = credentials.new_credential(Audience.TENANT)
    assert credentials.hint(credential) == credential[-4:]


def test_a_known_credential_is_found_again_by_its_fingerprint_and_no_other_is() -> None:
    known, other = (credentials.new_credential(Audience.TENANT) for _ in range(2))
    fingerprints = credentials.Fingerprints()
    assert fingerprints.digest(known) is None
    fingerprints.remember(known, b"digest")
    assert (fingerprints.digest(known), fingerprints.digest(other)) == (b"digest", None)
    assert known not in repr(vars(fingerprints))


def test_fingerprints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "FINGERPRINTS_MAX", 3)
    fingerprints = credentials.Fingerprints()
    for number in range(10):
        fingerprints.remember(f"fpk_{number}", b"%d" % number)
    assert sum(fingerprints.digest(f"fpk_{number}") is not None for number in range(10)) <= 3
    assert fingerprints.digest("fpk_9") == b"9"
