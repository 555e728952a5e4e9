"""The writer of `docs/compatibility.md`, for `make compatibility`: the treatment of each field by engine."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.combinations import CONFLICTS
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.messages import Message
from finpool.gateway.request.options import IgnoredOption, RefusedOption, RefusedWords, ServedOption, treatment_of
from finpool.gateway.request.vectors import EmbeddingRequest, RerankRequest
from finpool.serving.engine.schema_keywords import ANNOTATIONS, ENFORCED

ENGINES = ("llama.cpp", "vLLM", "remote")

INTRODUCTION = """\
# Compatibility with OpenAI's API

This page lists every field that OpenAI knows, with the fields of vLLM that are served besides; for rankings, those of
Jina, Cohere and vLLM. `make compatibility` writes it from the classes that read the requests, so it says what the code
does.

| word | meaning |
|---|---|
| served | The field has its effect. Without the capability in brackets, a model refuses it. |
| declared | Served by a remote engine whose declaration names the field in `extensions`; refused otherwise. |
| refused | Any value but null, an empty one and its API's default is a 400 `unsupported_parameter` that says why. |
| ignored | The value is checked and forgotten: no engine sees it, and no answer depends on it. |

Null, an empty list or object, and OpenAI's default count as not given, for every field. A field that is not on this
page is a 400 `unknown_parameter`, and a field that an object repeats is a 400. Ranges and lengths are in the [OpenAPI
document](openapi/inference.json), the bounds of schemas in [isolation.md](isolation.md). `remote` is an engine behind
OpenAI's API; it completes raw texts if its declaration says `text_completions: true`.

Every wrong value is a 400 `invalid_value` whose `param` names the field, such as `messages[3].tool_call_id`. A message
may hold null for fields of other roles. A history with tool calls needs a model with the capability `tools`. Parameters
of a tool without `strict` may be any JSON schema. An engine cannot compile some parts of it quickly, such as a
lookahead or more than 100 properties. They go into descriptions: the model reads them, and no engine enforces them.
"""

COMBINATIONS = """\
## Fields that an engine does not serve together

Each field alone is served. Together they are a 400 `unsupported_parameter`.

| field | beside | on | reason |
|---|---|---|---|
{rows}

On vLLM no grammar holds a call that the model chooses to make (`tool_choice` `auto`). If it is `strict`, the finished
call is checked, and one that breaks its schema ends with an error that charges nothing. Its schema has no `pattern`,
`patternProperties` or `format`. A required or named call is held by a grammar, with all keywords below. A `stop` string
ends text, never a call; a remote engine has a rule of its own.
"""

KEYWORDS = """\
## JSON schema keywords

The schema of a `response_format` and that of a `strict` tool hold in every answer. An engine enforces the keywords of
its row with a grammar. Any other keyword, known or not, is a 400 `unsupported_parameter` with its path as `param`.
`minProperties` is enforced up to the number of `required` properties, or 1, and `multipleOf` not in a range below zero.
A schema that nothing can satisfy is a 400. So is a `oneOf` of which two branches can hold together. An answer that
`max_tokens` cuts ends within the value.

Two keywords hold less than they say. A `date` may be 29 February of a common year. An object that is open to more
properties may repeat a name. Check such answers.

A `pattern` means what ECMA 262 says, without flags, so `\\d` and `\\w` are ASCII. llama.cpp refuses one that names a
quotation mark, a backslash or a control character outside a class, because its library misreads that.

These describe and require nothing: {annotations}; at the root also `$id` and `$anchor`.

{table}

{reasons}
"""

TEXTS: dict[type[BaseModel], str] = {
    ChatRequest: "`POST /v1/chat/completions`",
    CompletionRequest: "`POST /v1/completions`",
    EmbeddingRequest: "`POST /v1/embeddings`",
    RerankRequest: "`POST /rerank`, `/v1/rerank`, `/v2/rerank`",
}
LACKING: dict[tuple[type[BaseModel], str, str], str] = {(EmbeddingRequest, "dimensions", "llama.cpp"): "refused"}
"""Fields that one engine cannot serve for any model."""

EXTENSIONS = frozenset(get_args(get_args(OpenAiEngine.model_fields["extensions"].annotation)[0]))
"""Fields that the declaration of a remote engine may name."""


@dataclass(frozen=True)
class Row:
    """One field: its name from the request down, its treatment on each engine, and the reason or a note."""

    name: str
    treatments: tuple[str, ...]
    note: str

    def __str__(self) -> str:
        return f"| {' | '.join((f'`{self.name}`', *self.treatments, self.note))} |"


def page() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for request, heading in TEXTS.items():
        parts.append(_table(heading, _rows(request, request)))
        if request is ChatRequest:
            parts.extend(
                _table(f"Messages of role `{_role(each)}`", _rows(each, request)) for each in _classes(Message)
            )
    return "\n".join([*parts, _combinations(), _keywords()])


def _combinations() -> str:
    rows = [
        f"| `{conflict.param}` | {conflict.beside} | {engine} | {conflict.reason} |"
        for engine, conflicts in zip(ENGINES, CONFLICTS.values(), strict=True)
        for conflict in conflicts
    ]
    return COMBINATIONS.format(rows="\n".join(rows))


def _keywords() -> str:
    by_engine = list(ENFORCED.values())
    names = sorted({name for each in by_engine for name in each.keywords})
    formats = sorted({name for each in by_engine for name in each.formats})
    head = f"| keyword | {' | '.join(ENGINES)} |\n|---|{'---|' * len(ENGINES)}"
    rows = [_keyword_row(f"`{name}`", [name in each.keywords for each in by_engine]) for name in names]
    rows += [_keyword_row(f"`format`: `{name}`", [name in each.formats for each in by_engine]) for name in formats]
    reasons = [f"- {engine}: {each.reason}." for engine, each in zip(ENGINES, by_engine, strict=True)]
    return KEYWORDS.format(annotations=_listed(ANNOTATIONS), table="\n".join([head, *rows]), reasons="\n".join(reasons))


def _keyword_row(shown: str, held: list[bool]) -> str:
    return f"| {shown} | {' | '.join('enforced' if each else 'refused' for each in held)} |"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _table(heading: str, rows: Iterator[Row]) -> str:
    head = f"| field | {' | '.join(ENGINES)} | reason, note |\n|---|{'---|' * len(ENGINES)}---|"
    return "\n".join([f"## {heading}", "", head, *map(str, rows), ""])


def _rows(shape: type[BaseModel], request: type[BaseModel], above: str = "") -> Iterator[Row]:
    for name, field in shape.model_fields.items():
        shown = f"{above}{field.alias or name}"
        yield Row(shown, tuple(_treatment(request, name, field, engine) for engine in ENGINES), _note(field))
        if _refuses_all(field):
            return
        if isinstance(treatment_of(field), ServedOption) and name != "messages":
            inner = f"{shown}[]." if _is_list(field.annotation) else f"{shown}."
            for each in _classes(field.annotation):
                yield from _rows(each, request, inner)


def _treatment(request: type[BaseModel], name: str, field: FieldInfo, engine: str) -> str:
    treatment = treatment_of(field)
    if isinstance(treatment, RefusedOption) or _refuses_all(field):
        return "refused"
    if isinstance(treatment, IgnoredOption):
        return "ignored"
    if (request, name, engine) in LACKING:
        return LACKING[request, name, engine]
    if engine == "remote" and request.model_fields.get(name) is field and name in EXTENSIONS:
        return "declared"
    return "served" if treatment.capability is None else f"served ({treatment.capability})"


def _note(field: FieldInfo) -> str:
    """Return the reason or the note of a field, with its words that are refused and its defaults."""
    treatment = treatment_of(field)
    notes = [treatment.note if isinstance(treatment, ServedOption) else treatment.reason]
    if isinstance(treatment, RefusedOption) and treatment.defaults:
        notes.append(f"not given: {', '.join(f'`{json.dumps(each)}`' for each in treatment.defaults)}")
    for reason, words in _refused_words(field).items():
        notes.append(f"refused: {', '.join(f'`{word}`' for word in words)} ({reason})")
    return "; ".join(note for note in notes if note)


def _refused_words(field: FieldInfo) -> dict[str, list[str]]:
    """Return the words of a field that are refused, by reason."""
    found: dict[str, list[str]] = {}
    for each in field.metadata:
        for word, reason in each.reasons.items() if isinstance(each, RefusedWords) else ():
            found.setdefault(reason, []).append(word)
    return found


def _refuses_all(field: FieldInfo) -> bool:
    """Tell whether a field has no word but refused ones, as the role of a message that is not served."""
    refused = [word for words in _refused_words(field).values() for word in words]
    return bool(refused) and set(get_args(field.annotation)) <= set(refused)


def _classes(annotation: Any) -> list[type[BaseModel]]:
    """Return the classes of objects that a type may be, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [shape for each in get_args(annotation) for shape in _classes(each)]
    return list(dict.fromkeys(found))


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(each) for each in get_args(annotation))


def _role(message: type[BaseModel]) -> str:
    (role,) = get_args(message.model_fields["role"].annotation)
    return str(role)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
