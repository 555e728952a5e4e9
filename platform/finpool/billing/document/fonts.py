"""The fonts of PDF documents: for every script one of Noto, chosen by the characters of a document.

A character that no font has is an error that names it. It is never left out, and never an empty box.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

from finpool.billing.document.schemas import MissingGlyph
from finpool.kernel.names import JOINERS

FAMILY = "Noto Sans"
"""The family of all text; the others take the place of single characters that it lacks."""

_SCRIPTS = (
    *("Arabic", "Hebrew", "Devanagari", "Thai", "Bengali", "Tamil", "Telugu", "Gujarati", "Gurmukhi", "Kannada"),
    *("Malayalam", "Oriya", "Sinhala", "Khmer", "Lao", "Myanmar", "Armenian", "Georgian", "Ethiopic", "Symbols"),
)
_FACE_JAPANESE, _FACE_KOREAN, _FACE_SIMPLIFIED_CHINESE = 0, 1, 2
_KANA = re.compile(r"[\u3040-\u30ff\uff66-\uff9f]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_WITHOUT_GLYPH = frozenset({"\n"})


@dataclass(frozen=True, slots=True)
class Font:
    """A font's file, and its face in a collection."""

    family: str
    path: str
    face: int = 0

    @cache  # noqa: B019 - there are two dozen fonts, and they last as long as the process.
    def characters(self) -> frozenset[str]:
        """Return the characters that the font has."""
        with TTFont(self.path, fontNumber=self.face, lazy=True) as opened:
            return frozenset(chr(code) for code in opened.getBestCmap())


def every_font(text: str) -> Iterator[Font]:
    """Yield all fonts, the preferred ones first; the text selects the national form of Chinese characters."""
    noto = files("manimgx_fonts")
    yield Font(FAMILY, str(noto / "NotoSans[wght].ttf"))
    cjk = files("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc"
    face = _FACE_SIMPLIFIED_CHINESE
    if _KANA.search(text):
        face = _FACE_JAPANESE
    elif _HANGUL.search(text):
        face = _FACE_KOREAN
    yield Font("Noto Sans CJK", str(cjk), face)
    for script in _SCRIPTS:
        yield Font(f"Noto Sans {script}", str(noto / f"NotoSans{script}[wght].ttf"))
    yield Font("Noto Emoji", str(noto / "NotoEmoji[wght].ttf"))


def family_for(text: str, fonts: Sequence[Font]) -> str:
    """Return the family that a text begins with: that of letters with a joiner, which only one font can shape."""
    for before, character in pairwise(text):
        if character in JOINERS:
            return next((font.family for font in fonts if before in font.characters()), FAMILY)
    return FAMILY


def fonts_for(texts: Mapping[str, str]) -> list[Font]:
    """Return the fonts that these texts, by the names of their fields, need; raise `MissingGlyph` if none suffices."""
    whole = "".join(texts.values())
    missing = set(whole) - _WITHOUT_GLYPH
    chosen = []
    for font in every_font(whole):
        if font.family == FAMILY or missing:
            found = missing & font.characters()
            missing -= found
            if found or font.family == FAMILY:
                chosen.append(font)
    for field, text in texts.items():
        for character in text:
            if character in missing:
                raise MissingGlyph(character, field)
    return chosen
