"""Who calls, and with what: a tool has the same caller, the same reach and the same transaction as a route of the HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from drystone.access.service import Principal
from drystone.core.db import transaction
from drystone.resources import Resources

# The attribute that says where a document stands for people, where it has one.
_URL = "url"


@dataclass(frozen=True)
class Call:
    """One call of a tool, or one reading of a resource. base_url: of this server, as the caller sees it."""

    resources: Resources
    principal: Principal
    base_url: str

    @classmethod
    def of(cls, request: Request) -> Call:
        """The call of a request whose key was looked up."""
        principal = cast(Principal, request.state.principal)
        return cls(request.app.state.resources, principal, str(request.base_url).rstrip("/"))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction that reaches what the caller may see."""
        async with transaction(self.resources.sessions.within(self.principal.reach)) as session:
            yield session

    def url_of(self, document_id: UUID, attributes: Mapping[str, Any]) -> str:
        """Where a document can be looked at: its attribute `url`, if that is one; else its file, for whoever has a key."""
        said = attributes.get(_URL)
        if isinstance(said, str) and said.startswith(("https://", "http://")):
            return said
        return f"{self.base_url}/api/v1/documents/{document_id}/content"
