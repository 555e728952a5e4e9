"""One way to ask for a long list, and one shape of what comes back."""

from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

PAGE_DEFAULT = 100
PAGE_MAX = 1000

Row = TypeVar("Row")


class Listed(BaseModel):
    """What stands in a list has an id, to go on from."""

    id: str


Item = TypeVar("Item", bound=Listed)


class PageQuery(BaseModel):
    """Which part of a list: at most `limit` items that follow the one whose id is `after`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: str | None = Field(
        None, pattern=r"^[a-z0-9_-]{1,63}$", description="`last_id` of the page before; by default the first page."
    )


class ListPage(BaseModel, Generic[Item]):
    """A part of a list, in OpenAI's shape; `has_more` tells whether anything follows `last_id`."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_of(rows: Sequence[Row], query: PageQuery, item_of: Callable[[Row], Item]) -> ListPage[Item]:
    """Return the page that begins with `rows`, which are one more than `query.limit` where more follow."""
    data = [item_of(row) for row in rows[: query.limit]]
    return ListPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(rows) > query.limit,
    )
