"""What goes over the wire of drafts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from annotated_types import Len
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from drystone.api.catalogue_schemas import ChangeDone
from drystone.catalogue import applying, review
from drystone.catalogue.applying import MOST_CHANGES
from drystone.catalogue.bodies import Title
from drystone.catalogue.bounds import Key, Message
from drystone.catalogue.drafts import Proposal, Words, proposals_of
from drystone.catalogue.links import Link
from drystone.catalogue.merging import Difference as Differing
from drystone.catalogue.merging import Side, Take
from drystone.catalogue.models import Action, DraftStatus, EntityType, Kind
from drystone.catalogue.models import Draft as DraftRow
from drystone.catalogue.queries import View
from drystone.catalogue.review import Comparison, Rebased, Verdict
from drystone.catalogue.rules import Problem
from drystone.core.clock import utc_now
from drystone.core.errors import path_of, pointer_to
from drystone.core.text import Text
from drystone.http.problems import FieldError

Reason = Annotated[Text, Len(1, 1000)]


class DraftWords(BaseModel):
    """What may be changed of a draft beside its changes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"title": "Nitrogen dioxide"}]})

    title: Title | None = None
    message: Message | None = None
    bump_modules: StrictBool | None = None

    def words(self) -> Words:
        return Words(self.title, self.message, self.bump_modules)


class Decision(BaseModel):
    """Why a draft is approved."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "as discussed"}]})

    reason: Message = ""


class Rejection(BaseModel):
    """Why a draft is rejected."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the unit is missing"}]})

    reason: Reason


class NewLink(BaseModel):
    """How long another link lasts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    expires_at: Annotated[
        AwareDatetime | None, Field(description="When draft and link end; within a year. Left out: as before.")
    ] = None


class ChoiceBody(BaseModel):
    """Which side is to win where both say something else."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    key: Key
    path: Annotated[Text, Len(0, 2000)] | None = Field(
        None,
        pattern=r"^(/.*)?$",
        description="A JSON pointer, as the diff has it; left out: every place of this one.",
        examples=["/label"],
    )
    take: Take

    def choice(self) -> review.Choice:
        path = None if self.path is None else path_of(self.path)
        return review.Choice(self.kind, self.key, path, self.take)


class Rebase(BaseModel):
    """How conflicts are settled."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"choices": [{"kind": "entity", "key": "no2", "take": "ours"}]}]},
    )

    take: Take | None = Field(
        None, description="Which side wins wherever no choice says so. Left out: conflicts are left."
    )
    choices: Annotated[list[ChoiceBody], Len(0, MOST_CHANGES)] = []


class ProposedChange(BaseModel):
    """A change of a draft."""

    kind: Kind
    key: str
    action: Action
    content: dict[str, Any] | None = Field(description="Of a put.")
    base_revision: int = Field(description="Of the catalogue that it rests on.")
    revision: int = Field(description="Of the draft, when this was last edited.")

    @classmethod
    def of(cls, each: Proposal) -> ProposedChange:
        content = None if each.content is None else each.content.said()
        return cls(
            kind=each.kind,
            key=each.key,
            action=each.action,
            content=content,
            base_revision=each.base,
            revision=each.revision,
        )


class DraftSummary(BaseModel):
    """A draft without its changes."""

    id: UUID
    status: DraftStatus
    title: str
    message: str
    bump_modules: bool
    change_count: int
    base_revision: int = Field(description="Of the catalogue that new changes rest on.")
    revision: int = Field(description="Counts what was done to the draft.")
    created_at: datetime
    created_by: str
    updated_at: datetime
    expires_at: datetime
    has_link: bool = Field(description="Whether its link leads to it.")
    submitted_at: datetime | None
    decided_at: datetime | None = Field(description="Approved or rejected.")
    decided_by: str | None
    reason: str | None
    merged_revision: int | None = Field(description="Of the catalogue that it became.")
    deleted_at: datetime | None

    @classmethod
    def listed(cls, row: Any) -> DraftSummary:
        return cls(**_fields(row), change_count=row.changes, has_link=_has_link(row))


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in DraftSummary.model_fields if name not in ("change_count", "has_link")}


def _has_link(row: Any) -> bool:
    return row.revoked_at is None and row.deleted_at is None and row.expires_at > utc_now()


class Draft(DraftSummary):
    """A draft: changes of the catalogue that somebody proposes."""

    changes: list[ProposedChange]

    @classmethod
    def of(cls, row: DraftRow) -> Draft:
        return cls(**_of_draft(row))


def _of_draft(row: DraftRow) -> dict[str, Any]:
    changes = [ProposedChange.of(each) for each in proposals_of(row)]
    return {**_fields(row), "change_count": len(changes), "has_link": _has_link(row), "changes": changes}


class DraftWithLink(Draft):
    """A draft with its link: keep it, it is not shown again."""

    token: str | None = Field(
        description="null where the request was repeated under its Idempotency-Key.",
        examples=["dsd_k7m2p9x4qahe.3q2-WwYk0s9b3rM7m3Zq1c9c1mJ8y0y0w3JtYk2hQ1o"],
    )
    link: str | None = Field(description="The same after a `#`, which browsers send to nobody.")

    @classmethod
    def made(cls, row: DraftRow, link: Link) -> DraftWithLink:
        return cls(**_of_draft(row), token=link.token, link=f"/draft#{link.token}")

    def without(self) -> DraftWithLink:
        """The same to be remembered."""
        return self.model_copy(update={"token": None, "link": None})


class Drafts(BaseModel):
    """One page of drafts, newest first."""

    items: list[DraftSummary]
    next_cursor: str | None


class DraftVerdict(BaseModel):
    """What the rules say of a draft, and what would become of each change."""

    status: DraftStatus = Field(description="Of the draft from then on.")
    catalogue_revision: int
    problems: list[FieldError] = Field(description="None, or it cannot be merged as it is.")
    changes: list[ChangeDone] = Field(description="Where there is no problem.")

    @classmethod
    def of(cls, row: DraftRow, verdict: Verdict) -> DraftVerdict:
        return cls(
            status=row.status,
            catalogue_revision=verdict.revision,
            problems=[_error(each) for each in verdict.problems],
            changes=[ChangeDone.of(each) for each in verdict.done],
        )


def _error(problem: Problem) -> FieldError:
    is_whole = problem.change is None and not problem.key
    return FieldError(
        pointer=applying.in_changeset(problem),
        detail=problem.sentence,
        code=problem.code,
        hint=problem.fix,
        kind=None if is_whole else problem.kind,
        key=problem.key or None,
    )


class DraftDifference(BaseModel):
    """A place at which not all sides say the same. What is left out of base, ours and theirs is not there."""

    path: str = Field(description="A JSON pointer into the content; empty: the whole of it.")
    side: Side = Field(
        description="`ours`, `theirs`: who changed it; `same`: both, alike; `merged`: both, in ways that go together; `conflict`."
    )
    base: Any = Field(None, description="What stood there when the draft was begun.")
    ours: Any = Field(None, description="What the draft would have there.")
    theirs: Any = Field(None, description="What the catalogue has there now.")

    @classmethod
    def of(cls, each: Differing) -> DraftDifference:
        return cls(path=pointer_to(*each.path), side=each.side, **review.sides(each))


class ComparedChange(BaseModel):
    """A change of a draft, place by place."""

    kind: Kind
    key: str
    action: Action
    is_stale: bool = Field(description="What it touches was changed since the draft was begun.")
    differences: list[DraftDifference]

    @classmethod
    def of(cls, each: review.Compared) -> ComparedChange:
        proposal = each.proposal
        return cls(
            kind=proposal.kind,
            key=proposal.key,
            action=proposal.action,
            is_stale=each.is_stale,
            differences=[DraftDifference.of(one) for one in each.merged().differences],
        )


class DraftDiff(BaseModel):
    """How a draft stands to the catalogue as it is now."""

    revision: int = Field(description='Of the draft that was compared; in quotes it is its ETag, as in `"7"`.')
    catalogue_revision: int
    is_stale: bool = Field(description="Something that it touches was changed since: rebase it before it is merged.")
    changes: list[ComparedChange]

    @classmethod
    def of(cls, row: DraftRow, comparison: Comparison) -> DraftDiff:
        changes = [ComparedChange.of(each) for each in comparison.changes]
        return cls(
            revision=row.revision,
            catalogue_revision=comparison.revision,
            is_stale=any(each.is_stale for each in changes),
            changes=changes,
        )


class RebasedDraft(BaseModel):
    """A draft on the catalogue as it is now."""

    draft: Draft
    dropped: list[str] = Field(
        description="Changes that had nothing left to say: the catalogue says it already.", examples=[["entity no2"]]
    )
    conflicts: list[ComparedChange] = Field(
        description="Changes that were left as they were: choose, and rebase again."
    )

    @classmethod
    def of(cls, row: DraftRow, rebased: Rebased) -> RebasedDraft:
        return cls(
            draft=Draft.of(row),
            dropped=[f"{each.kind} {each.key}" for each in rebased.dropped],
            conflicts=[ComparedChange.of(each) for each in rebased.conflicts],
        )


class Catalogued(BaseModel):
    """What whoever holds a link sees of the catalogue."""

    kind: Kind
    key: str
    type: EntityType | None = Field(description="Of an entity.")
    label: str
    content: dict[str, Any]

    @classmethod
    def of(cls, view: View) -> Catalogued:
        said = view.content.said()
        return cls(kind=view.kind, key=view.key, type=said.get("type"), label=said["label"], content=said)


class CataloguedPage(BaseModel):
    """One page of the catalogue, by key."""

    items: list[Catalogued]
    next_cursor: str | None

    @classmethod
    def of(cls, found: Sequence[View], limit: int) -> CataloguedPage:
        last = found[limit - 1] if len(found) > limit else None
        cursor = f"{last.key}~{last.id}" if last else None
        return cls(items=[Catalogued.of(view) for view in found[:limit]], next_cursor=cursor)
