"""Names hold no character that nobody sees, but the joiners that their script needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.names import JOINERS, plain_name

NON_JOINER, JOINER = "\u200c", "\u200d"


@pytest.mark.parametrize(
    "name",
    [
        f"بانک می{NON_JOINER}خواهم",  # Persian keeps two letters apart.
        f"شرکت{NON_JOINER}های بیمه",
        f"ශ්{JOINER}රී ලංකා බැංකුව",  # Sinhala joins two consonants.
        f"क्{JOINER}ष",  # Hindi asks for the half form,
        f"क्{NON_JOINER}ष",  # or for the visible sign.
    ],
)
def test_a_name_keeps_the_joiners_that_its_script_needs(name: str) -> None:
    assert plain_name(f" {name} ") == name


@pytest.mark.parametrize(
    "name",
    [
        f"Ba{NON_JOINER}nk",
        f"Ba{JOINER}nk",
        f"Bank{NON_JOINER}",
        f"{JOINER}Bank",
        f"银{JOINER}行",
        f"بانک{NON_JOINER}",
        f"می{NON_JOINER}{NON_JOINER}خواهم",
        f"क{JOINER}ष",
        f"\u0378{JOINER}x",
        f"👩{JOINER}💻",
    ],
)
def test_a_joiner_that_nobody_would_see_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"must not hold U\+200[CD] \(ZERO WIDTH (NON-)?JOINER\) where it joins or parts"
    ):
        plain_name(name)


@pytest.mark.parametrize(
    "character", ["\u200b", "\u202e", "\u2066", "\ufeff", "\u00ad", "\n", "\x00", "\ue000", "\u2028"]
)
def test_other_invisible_characters_are_refused_everywhere(character: str) -> None:
    for name in (f"a{character}b", f"می{character}خواهم", f"ශ්{character}රී"):
        with pytest.raises(ValueError, match="control characters or invisible ones"):
            plain_name(name)


@given(
    st.text(st.characters(max_codepoint=0x24F, exclude_categories=["C", "Zl", "Zp"]) | st.sampled_from(sorted(JOINERS)))
)
def test_no_joiner_is_taken_among_latin_letters(text: str) -> None:
    if JOINERS & set(text):
        with pytest.raises(ValueError, match="must"):
            plain_name(text)
