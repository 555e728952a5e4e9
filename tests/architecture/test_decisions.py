"""Each decision record has a date, a status and the alternatives that were weighed, and the index lists it."""

import re
from pathlib import Path

import pytest

RECORDS = Path(__file__).parents[2] / "docs" / "adr"
INDEX = (RECORDS / "README.md").read_text()
HEADINGS = ["Context", "Decision", "Alternatives weighed", "Consequences"]


def faults(text: str) -> list[str]:
    """Return what a record lacks of its form."""
    found = []
    if not re.match(r"# \d{4} \S.*\n\n- Date: 20\d\d-\d\d-\d\d\n- Status: (accepted|superseded by \[\d{4}\])", text):
        found.append("title, date or status")
    if re.findall(r"^## (.+)$", text, flags=re.MULTILINE) != HEADINGS:
        found.append("headings")
    alternatives = text.partition("## Alternatives weighed\n")[2].partition("\n## ")[0]
    if not re.search(r"^- \S", alternatives, flags=re.MULTILINE):
        found.append("alternatives")
    return found


@pytest.mark.parametrize("path", sorted(RECORDS.glob("0*.md")), ids=lambda path: str(path.stem))
def test_a_record_has_date_status_and_alternatives(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("path", sorted(RECORDS.glob("0*.md")), ids=lambda path: str(path.stem))
def test_the_index_lists_a_record_by_number_date_and_title(path: Path) -> None:
    text = path.read_text()
    number, title = text.split("\n", 1)[0].removeprefix("# ").split(" ", 1)
    date = re.search(r"^- Date: (\S+)$", text, flags=re.MULTILINE)
    assert date is not None
    assert f"| [{number}]({path.name}) | {date[1]} | {title} |" in INDEX


def test_a_number_names_one_record_for_ever() -> None:
    numbers = re.findall(r"^\| \[?(\d{4})\]?", INDEX, flags=re.MULTILINE)
    assert sorted(numbers) == [f"{number:04}" for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# 0001 A\n\n## Context\n", ["title, date or status", "headings", "alternatives"]),
        (
            "# 0001 A\n\n- Date: 2026-01-01\n- Status: accepted\n\n## Context\n\n## Decision\n\n"
            "## Alternatives weighed\n\nNone.\n\n## Consequences\n",
            ["alternatives"],
        ),
    ],
)
def test_a_record_without_its_form_is_found(text: str, found: list[str]) -> None:
    assert faults(text) == found
