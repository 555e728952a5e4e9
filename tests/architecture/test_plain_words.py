"""Pages, comments and docstrings are plain: their sentences are short, and no clause stands for a noun."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import pytest
from source_files import ROOT, tracked

RELEASED = ROOT / "platform" / "migrations" / "released.txt"
WORDS_MAX = 25

BEFORE = (
    r"(?:^|[.;:,(] |\b(?:of|by|to|with|for|than|and|or|from|in|on|as|that|is|are|was|knows?|tells?|told|sees?|beside"
    r"|about) )"
)
AFTER = (
    r"(?:is|are|was|were|it|they|he|one|has|have|had|can|may|the|a|an|there|not|comes?|came|goes|runs?|holds?|asks?"
    r"|sends?|says?|tells?|waits?|this|each|every|its|no|nobody|somebody|others?|did|does|do|will|would|must|should|reads?"
    r"|makes?|needs?|gets?|stands?|lies|became|becomes|happens|happened|remains|follows|else|[a-z]+ed)\b"
)
NOUN_CLAUSE = re.compile(rf"\b(?:whoever|whatever)\b|{BEFORE}(?:what|who) {AFTER}", flags=re.IGNORECASE)
"""Clauses such as `what is told`, `who has read it`, `whoever asks`: a noun says the same in fewer words."""

PRINTED = {"platform/finpool/billing/document/pdf.py: Paid out of what was paid in advance."}
"""Invoices that were sent say this, and the same invoice is printed the same."""

CODE_BLOCK = re.compile(r"^ *```.*?^ *```", flags=re.MULTILINE | re.DOTALL)
LIST_ITEM = re.compile(r" *(?:[-*]|\d+\.) ")


def texts_of_page(page: str) -> Iterator[str]:
    """Yield each paragraph, item of a list and cell of a table."""
    paragraph: list[str] = []
    for line in [*CODE_BLOCK.sub("", page).splitlines(), ""]:
        if line.startswith("|"):
            yield from (cell.strip() for cell in line.strip("|").split(" | "))
        elif line.strip() and not line.startswith("#") and not LIST_ITEM.match(line):
            paragraph.append(line.strip())
        else:
            yield " ".join(paragraph)
            paragraph = [LIST_ITEM.sub("", line)] if LIST_ITEM.match(line) else []


def texts_of_module(source: str) -> Iterator[str]:
    """Yield each paragraph of the docstrings, and the comments, those of consecutive lines as one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from (" ".join(paragraph.split()) for paragraph in node.value.value.split("\n\n"))
    comment: list[str] = []
    last_line = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last_line + 1:
                yield " ".join(comment)
                comment = []
            comment.append(token.string.lstrip("# "))
            last_line = token.start[0]
    yield " ".join(comment)


def messages_of_module(source: str) -> Iterator[str]:
    """Yield each text of one line that a call is passed, such as an error's or a log line's; code counts as a word."""
    for call in ast.walk(ast.parse(source)):
        for value in [*call.args, *(each.value for each in call.keywords)] if isinstance(call, ast.Call) else []:
            parts = [_text(part) for part in (value.values if isinstance(value, ast.JoinedStr) else [value])]
            text = "".join(part for part in parts if part is not None)
            if None not in parts and "\n" not in text:
                yield text


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.FormattedValue):
        return "CODE"
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def sentences(text: str) -> list[str]:
    """Return the sentences of a text; code counts as one word, a link as its words."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "CODE", text))
    return re.split(r"(?<=[.?!;])[*_)\"']*\s+", plain)


def is_plain(sentence: str) -> bool:
    words = [word for word in sentence.split() if re.search(r"\w", word)]
    return len(words) <= WORDS_MAX and NOUN_CLAUSE.search(sentence) is None


def not_plain(name: str) -> list[str]:
    """Return the sentences of a file that break the rule."""
    text = (ROOT / name).read_text(encoding="utf-8")
    texts = texts_of_page(text) if name.endswith(".md") else texts_of_module(text)
    return [sentence for each in texts for sentence in sentences(each) if not is_plain(sentence)]


@pytest.mark.parametrize("name", tracked("*.md"))
def test_a_page_is_plain(name: str) -> None:
    assert not_plain(name) == []


def test_comments_and_docstrings_are_plain() -> None:
    unchangeable = {f"platform/migrations/versions/{line.split()[1]}" for line in RELEASED.read_text().splitlines()}
    names = [name for name in tracked("*.py") if name not in unchangeable]
    assert len(names) > 500
    assert {name: found for name in names if (found := not_plain(name))} == {}


def test_errors_and_log_lines_are_plain() -> None:
    texts = {
        f"{name}: {sentence}"
        for name in tracked("platform/finpool/*.py")
        for message in messages_of_module((ROOT / name).read_text(encoding="utf-8"))
        for sentence in sentences(message)
        if not is_plain(sentence)
    }
    assert texts == PRINTED


def test_a_message_that_is_not_plain_is_found() -> None:
    (text,) = messages_of_module("raise DomainError(f'{name}: what was started goes on', code=code)")
    assert not is_plain(text)


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("A clause such as what is told stands for a noun.", False),
        ("Whoever holds a lease spends it.", False),
        ("The holder of a lease spends it.", True),
        ("The decision says who may do it.", True),
        (" ".join(["word"] * 25) + ".", True),
        (" ".join(["word"] * 26) + ".", False),
        ("Code counts `as one word, however long it is`.", True),
    ],
)
def test_a_sentence_that_is_not_plain_is_found(sentence: str, plain: bool) -> None:
    assert all(is_plain(each) for each in sentences(sentence)) is plain
