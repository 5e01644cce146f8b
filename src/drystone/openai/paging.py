"""Pages of lists, as OpenAI's clients turn them: by the id of what stands last, or first, on the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel

from drystone.core.errors import Invalid
from drystone.core.text import Text

Order = Literal["asc", "desc"]
_Row = TypeVar("_Row")
_Item = TypeVar("_Item", bound="WithId")


class WithId(BaseModel):
    """What stands in a list."""

    id: str


class Page(BaseModel, Generic[_Item]):
    """Some of a list, and whether there is more of it in the direction that was asked for."""

    object: Literal["list"] = "list"
    data: list[_Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


@dataclass(frozen=True)
class Turning:
    """Which page: so many behind `after`, or before `before`; the newest first, unless order is asc."""

    limit: int
    order: Order
    after: str | None
    before: str | None

    @property
    def is_newest_first(self) -> bool:
        """In the direction that is looked: what stands before an id is looked for backwards."""
        return (self.order == "desc") != (self.before is not None)

    def cursor(self, read: Callable[[str], UUID]) -> UUID | None:
        """The id behind which is looked."""
        given = self.before if self.before is not None else self.after
        return None if given is None else read(given)

    def page(self, found: Sequence[_Row], show: Callable[[_Row], _Item]) -> Page[_Item]:
        """The page of what was found, of which one more than the limit was asked for, in the order of the question."""
        kept = list(found[: self.limit])
        if self.before is not None:
            kept.reverse()
        data = [show(each) for each in kept]
        return Page(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=len(found) > self.limit,
        )


def get_turning(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
    after: Text | None = None,
    before: Text | None = None,
) -> Turning:
    if after is not None and before is not None:
        raise Invalid("list.after_and_before", "A page is behind an id or before one, not both.", pointer="/before")
    return Turning(limit, order, after, before)


TurningOf = Annotated[Turning, Depends(get_turning)]
