"""A link of the documentation leads somewhere: to a file of the project, and to a heading that is there."""

import re
from functools import cache
from pathlib import Path

import pytest
from source_files import ROOT, tracked

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"^(https?|mailto):")


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings as hosts make them: lower case, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", CODE_BLOCK.sub("", page.read_text()), flags=re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def leads_nowhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists() or ROOT not in (target, *target.parents):
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


@pytest.mark.parametrize("name", tracked("*.md"))
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    page = ROOT / name
    links = [link for link in LINK.findall(CODE_BLOCK.sub("", page.read_text())) if not ELSEWHERE.match(link)]
    assert [link for link in links if leads_nowhere(page, link)] == []


@pytest.mark.parametrize(
    "link", ["nowhere.md", "#no-such-heading", "../../outside-of-the-project", "README.md#nothing"]
)
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert leads_nowhere(ROOT / "README.md", link)
