"""Which rows a transaction may read and write. PostgreSQL holds it to that by row-level security (docs/adr/0029).

A transaction says its reach in two settings that end with it; who says nothing reaches nothing. No domain words here: the
rules of tables stand in migrations, and for vector tables in `index.spaces`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text


@dataclass(frozen=True)
class Reach:
    """The rows of one workspace, or of some collections in it.

    workspace_id: None: of none. collection_ids: None: of all in the workspace.
    """

    workspace_id: UUID | None
    collection_ids: frozenset[UUID] | None = None
    is_everything: bool = False

    def parameters(self) -> dict[str, str]:
        """What `DECLARE` is to be given."""
        some = self.collection_ids
        return {
            "workspace": "*" if self.is_everything else str(self.workspace_id or ""),
            "collections": "" if some is None else "{" + ",".join(map(str, sorted(some))) + "}",
        }


NOTHING = Reach(None)
# For what serves nobody in particular: the worker, checks, commands of who runs the stack.
EVERYTHING = Reach(None, is_everything=True)

# Settings of a connection all of whose transactions reach everything.
OF_CONNECTION = {"drystone.workspace": "*"}

DECLARE = text(
    "select set_config('drystone.workspace', :workspace, true), set_config('drystone.collections', :collections, true)"
)


def protection(table: str, rule: str) -> Iterator[str]:
    """Statements that hold a table to a rule, run by its owner, for whom it does not hold.

    rule: an SQL condition over a row, beside which whoever reaches everything may read and write all of them.
    """
    yield f"alter table {table} enable row level security, force row level security"
    yield f"create policy reach on {table} using ((select reaches_everything()) or {rule})"
    yield f"create policy owner on {table} to current_user using (true)"
