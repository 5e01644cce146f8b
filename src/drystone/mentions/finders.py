"""The finder of each workspace's names, kept by a process until the names change."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from cachetools import LRUCache

from drystone.core.db import Sessions, transaction
from drystone.mentions import queries
from drystone.mentions.finding import Finder
from drystone.mentions.queries import Found

# Workspaces whose finders a process keeps.
_KEPT = 16
# Longer texts are looked through in a thread: others' work goes on meanwhile.
_LONG_TEXT = 20_000

Passages = Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Names:
    """What entities are called. id: of these names, `catalogues.names_id`; None: there never was one."""

    id: UUID | None
    finder: Finder


_NONE = Names(None, Finder())


class Finders:
    """Names by workspace. `known` may be outdated: whoever writes mentions asks, holding `share`, which are current."""

    def __init__(self) -> None:
        self._names: LRUCache[UUID, Names] = LRUCache(_KEPT)
        self._loading = asyncio.Lock()

    def known(self, workspace_id: UUID) -> Names:
        """The names this process has seen last; none of a workspace that it has not met."""
        return self._names.get(workspace_id, _NONE)

    async def load(self, sessions: Sessions, workspace_id: UUID) -> Names:
        """The names there are now."""
        async with self._loading:
            async with transaction(sessions) as session:
                now = (await queries.names_ids(session, [workspace_id])).get(workspace_id)
                if self.known(workspace_id).id == now:
                    return self.known(workspace_id)
                names_id, named = await queries.names(session, workspace_id)
            made = Names(names_id, await asyncio.to_thread(lambda: Finder(named).prepare()))
            self._names[workspace_id] = made
            return made


async def find(finder: Finder, passages: Passages) -> list[list[Found]]:
    """For each passage, given as its start in the document's text and its own text, the mentions in it."""
    if not len(finder):
        return [[] for _ in passages]
    if sum(len(text) for _, text in passages) < _LONG_TEXT:
        return _find(finder, passages)
    return await asyncio.to_thread(_find, finder, passages)


def _find(finder: Finder, passages: Passages) -> list[list[Found]]:
    found = []
    for offset, text in passages:
        of_entity: dict[UUID, Found] = {}
        for mention in finder.find(text):
            for entity_id in mention.entity_ids:
                its = of_entity.setdefault(entity_id, Found(entity_id, [], []))
                its.starts.append(offset + mention.start)
                its.ends.append(offset + mention.end)
        found.append(list(of_entity.values()))
    return found


def outdated(known: Mapping[UUID, Names], current: Mapping[UUID, UUID]) -> Collection[UUID]:
    """Those workspaces that have other names by now."""
    return [workspace_id for workspace_id, names in known.items() if current.get(workspace_id) != names.id]
