"""Names of any script stand in the PDF whole, or an error names the character that no font has."""

import io
import unicodedata
from collections import Counter
from collections.abc import Callable

import pytest
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from finpool.billing.document.fonts import every_font, fonts_for
from finpool.billing.document.pdf import invoice_pdf
from finpool.billing.document.schemas import DocumentFormat, MissingGlyph
from finpool.billing.document.service import document_of, rendered_document
from finpool.billing.errors import CharacterNotPrintable
from finpool.billing.invoice.schemas import InvoiceView

NAMES = (
    *("Łódź", "Türkiye İş Bankası", "Őrség", "Çağrı Ğıİş", "Ångström Æøß ŒŠŽ", "Ngân hàng Việt Nam ẵộữ", "Țară Șță"),
    *("Україна їґє", "Қазақстан Халық Банкі әғқңөұүһі", "Българска банка", "Монгол банк өү", "Ђорђе Ћирић"),
    *("Εθνική Τράπεζα ΐΰάέήίόύώ", "Հայաստանի բանկ", "საქართველოს ბანკი"),
    *("البنك الأهلي المصري", "بانک ملی ایران گچپژ", "بینک آف پاکستان ٹڈڑ", "בנק הפועלים 123"),
    *("ธนาคารกรุงเทพ จำกัด", "ທະນາຄານ", "ខ្មែរ", "မြန်မာ", "भारतीय स्टेट बैंक", "বাংলাদেশ ব্যাংক", "தமிழ்நாடு", "తెలుగు"),
    *("ગુજરાત", "ਪੰਜਾਬ", "ಕನ್ನಡ", "മലയാളം", "ଓଡ଼ିଶା", "ශ්‍රී".replace("\u200d", ""), "የኢትዮጵያ ባንክ"),
    *(
        "上海浦江银行",
        "臺灣銀行",
        "株式会社さくら銀行",
        "국민은행",
        "㈱みずほ",
        "O\u0301 e\u0323\u0302",
        "№ 5 – “A” … € ₸ ₹ ₴ ™ ☂ 😀",
    ),
)

UNKNOWN = {
    "ߊ": "NKO LETTER A",
    "ⴰ": "TIFINAGH LETTER YA",
    "𒀀": "CUNEIFORM SIGN A",
    "ཀ": "TIBETAN LETTER KA",
    "Ꭰ": "CHEROKEE LETTER A",
    "\ue000": "without a name",
    "\u0378": "without a name",
    "\a": "without a name",
}

Named = Callable[[str], InvoiceView]


@pytest.fixture
def named(invoice: InvoiceView) -> Named:
    """Make an invoice of one line for a buyer: `named("Łódź")`."""
    return lambda name: invoice.model_copy(update={"buyer_name": name, "lines": invoice.lines[:1], "seller_name": ""})


def letters(text: str) -> Counter[str]:
    """Count the characters of a text besides white space; readers compose and decompose marks in their own ways."""
    return Counter(each for each in unicodedata.normalize("NFKD", text) if not each.isspace() and each != "\0")


def shown(content: bytes) -> str:
    return "".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


def glyphs(content: bytes) -> list[bytes]:
    """Return the outlines of all glyphs that a PDF embeds, those without an outline left out."""
    found = []
    for page in PdfReader(io.BytesIO(content)).pages:
        for font in page["/Resources"]["/Font"].values():  # type: ignore[index]
            program = font["/DescendantFonts"][0]["/FontDescriptor"]["/FontFile2"].get_data()
            outlines = TTFont(io.BytesIO(program))["glyf"]
            drawn = [outlines[name] for name in outlines.glyphOrder if outlines[name].numberOfContours]
            found += [glyph.compile(outlines) for glyph in drawn]
    return sorted(found)


@pytest.mark.parametrize("name", NAMES)
def test_every_letter_of_a_name_is_in_the_pdf(named: Named, name: str, caplog: pytest.LogCaptureFixture) -> None:
    without = letters(shown(invoice_pdf(named("-"))))
    found = letters(shown(invoice_pdf(named(name)))) - without
    assert letters(name) - found == Counter()
    assert "missing" not in caplog.text


@pytest.mark.parametrize("name", ["می\u200cخواهم", "ශ්\u200dරී", "क्\u200dष", "क्\u200cष"])
def test_a_joiner_of_a_name_changes_the_letters_in_the_pdf(
    named: Named, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    bare = name.replace("\u200c", "").replace("\u200d", "")
    assert glyphs(invoice_pdf(named(name))) != glyphs(invoice_pdf(named(bare)))
    assert letters(bare) - letters(shown(invoice_pdf(named(name)))) == Counter()
    assert "missing" not in caplog.text


@pytest.mark.parametrize(("character", "name"), UNKNOWN.items())
async def test_a_character_that_no_font_has_is_an_error_that_names_it(named: Named, character: str, name: str) -> None:
    invoice = named(f"Bank {character}")
    with pytest.raises(CharacterNotPrintable) as refused:
        await rendered_document(document_of(invoice, DocumentFormat.PDF))
    assert f"U+{ord(character):04X}, {name}) of buyer_name" in refused.value.message
    assert "format=csv" in refused.value.message
    table = (await rendered_document(document_of(invoice, DocumentFormat.CSV))).content
    assert invoice.number is not None
    assert invoice.number.encode() in table


def test_each_assigned_character_is_in_a_font_or_named() -> None:
    known = frozenset().union(*(font.characters() for font in every_font("")))
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] != "C"]
    assert len(known) > 50_000
    printed = "".join(each for each in assigned if each in known)
    assert fonts_for({"all": printed})
    # One character of each script that the fonts lack, as the first word of its name tells.
    scripts = {unicodedata.name(each, "?").split()[0]: each for each in assigned if each not in known}
    assert len(scripts) > 100
    for each in scripts.values():
        with pytest.raises(MissingGlyph) as refused:
            fonts_for({"name": f"Bank {each}"})
        assert (refused.value.character, refused.value.field) == (each, "name")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(categories=["L", "N", "Sc"]), min_size=1, max_size=6))
@example(name="Ǆ")
def test_a_generated_name_is_shown_whole_or_an_error_names_a_character_of_it(named: Named, name: str) -> None:
    known = frozenset().union(*(font.characters() for font in every_font("")))
    if lost := sorted(set(name) - known):
        with pytest.raises(MissingGlyph) as refused:
            invoice_pdf(named(name))
        assert refused.value.character in lost
    else:
        assert letters(name) - letters(shown(invoice_pdf(named(name)))) == Counter()
