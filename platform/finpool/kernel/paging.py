"""Pages of a long list, in OpenAI's shape."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

PAGE_DEFAULT = 100
PAGE_MAX = 1000

Ids = Annotated[list[Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]], Field(max_length=100)]
"""Ids to filter a list by. No existing id holds other characters, and some of those no database query can carry."""

Row = TypeVar("Row")


class Listed(BaseModel):
    """An item of a list; its `id` is the cursor of the next page."""

    id: str


Item = TypeVar("Item", bound=Listed)


class PageQuery(BaseModel):
    """One page of a list: at most `limit` items after the item with id `after`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: str | None = Field(
        None, pattern=r"^[a-z0-9_-]{1,63}$", description="`last_id` of the page before; by default the first page."
    )


class ListPage(BaseModel, Generic[Item]):
    """One page of a list in OpenAI's shape; `has_more` tells whether items follow `last_id`."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_of(rows: Sequence[Row], query: PageQuery, item_of: Callable[[Row], Item]) -> ListPage[Item]:
    """Return a page of `rows`. Callers read `query.limit + 1` rows; the extra row sets `has_more`."""
    data = [item_of(row) for row in rows[: query.limit]]
    return ListPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(rows) > query.limit,
    )
