"""What clients do while faults happen, drawn from a seed, and what they were promised: the model the stack is held to.

A client is careful: it sends a request again, under the same Idempotency-Key, until it has an answer. What was answered
with success is acknowledged, and from then on the stack owes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
import zipfile
from dataclasses import dataclass, field
from typing import Any

import httpx

LANES = 4
PATIENCE_S = 150.0
_SENTENCE = "The wall of field {n} stands without mortar since {year}, and {word} is what they call it. "


@dataclass
class Kept:
    """A document that was acknowledged and not deleted since. word: stands in it and nowhere else.

    members: of an archive, a word of each; it has no text itself.
    """

    id: str
    sha256: str
    word: str
    fails_with: str | None = None
    members: tuple[str, ...] = ()


@dataclass
class Answered:
    """One answer to a request that a client got, and how long it took."""

    at: float
    seconds: float
    status: int
    what: str
    retry_after: bool


@dataclass
class Promises:
    """What was acknowledged. kept: (collection, key) to document; gone: id to (collection, word), of deleted ones."""

    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)
    gone: dict[str, tuple[str, str]] = field(default_factory=dict)
    answers: list[Answered] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def acknowledged(self) -> int:
        return sum(answer.status < 300 for answer in self.answers)


class Workload:
    """One cell's clients. collection: a name that no other cell uses. operations: how many, over all lanes."""

    def __init__(self, client: httpx.AsyncClient, collection: str, seed: int, *, operations: int = 32) -> None:
        self.promises = Promises()
        self.collection = collection
        self._client = client
        self._operations = operations
        self._random = random.Random(seed)
        self._number = 0

    async def run(self, *, patience_s: float = PATIENCE_S) -> None:
        """Do everything; returns when all of it was answered. Meanwhile somebody searches."""
        watcher = asyncio.create_task(self._watch())
        lanes = [self._lane(lane, random.Random(self._random.random())) for lane in range(LANES)]
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*lanes)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def upload(
        self, key: str | None, body: bytes, word: str, *, suffix: str = "txt", fails_with: str | None = None
    ) -> Kept:
        """Send a file, under the external id `key`, until it is acknowledged."""
        return await self._upload(self.collection, key, body, word, suffix=suffix, fails_with=fails_with)

    async def upload_archive(self, key: str) -> Kept:
        """Send a ZIP of three documents."""
        words = (self.word(), self.word(), self.word())
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
            for word in words:
                archive.writestr(f"folder/{word}.txt", make_body(self._random, word, "txt"))
        kept = await self.upload(key, body.getvalue(), self.word(), suffix="zip")
        kept.members = words
        return kept

    async def delete(self, key: str, collection: str | None = None) -> None:
        """Delete what stands under a key until that is acknowledged."""
        place = (collection or self.collection, key)
        kept = self.promises.kept[place]
        await self._send("DELETE", f"/api/v1/documents/{kept.id}", also=(404,))
        del self.promises.kept[place]
        self.promises.gone[kept.id] = place[0], kept.word

    async def clear(self) -> None:
        """Delete the collection, and so everything that is left."""
        await self._drop(self.collection)

    def word(self) -> str:
        """A word that no other document holds."""
        self._number += 1
        return "w" + hashlib.sha256(f"{self.collection} {self._number}".encode()).hexdigest()[:16]

    async def _lane(self, lane: int, chance: random.Random) -> None:
        mine: list[str] = []
        for number in range(self._operations // LANES):
            await self._one(lane, number, mine, chance)

    async def _one(self, lane: int, number: int, mine: list[str], chance: random.Random) -> None:
        kinds = {
            "add": 8,
            "replace": 3,
            "again": 2,
            "delete": 2,
            "add and delete": 2,
            "nameless": 2,
            "collection": 1,
            "large": 1,
            "archive": 1,
        }
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        if kind in ("replace", "again", "delete") and not mine:
            kind = "add"
        key = chance.choice(mine) if kind in ("replace", "again", "delete") else f"{lane}-{number}"
        suffix, word = chance.choice(["txt", "txt", "html", "csv"]), self.word()
        if kind == "collection":
            await self._come_and_go(f"{self.collection}-{lane}-{number}")
        elif kind == "delete":
            await self.delete(key)
            mine.remove(key)
        elif kind == "archive":
            await self.upload_archive(key)
            mine.append(key)
        elif kind == "nameless":
            body = make_body(chance, word, "txt")
            first = await self._upload(self.collection, None, body, word)
            second = await self._upload(self.collection, None, body, word)
            if first.id != second.id:
                self.promises.surprises.append(f"the same bytes became {first.id} and {second.id}")
        else:
            suffix = "txt" if kind == "large" else suffix
            body = make_body(chance, word, suffix, sentences=1500 if kind == "large" else 0)
            await self._upload(self.collection, key, body, word, suffix=suffix)
            if kind == "again":
                await self._upload(self.collection, key, body, word, suffix=suffix)
            if kind == "add and delete":
                await self.delete(key)
            elif key not in mine:
                mine.append(key)

    async def _come_and_go(self, collection: str) -> None:
        for number in range(2):
            word = self.word()
            await self._upload(collection, str(number), make_body(self._random, word, "txt"), word)
        await self._drop(collection)

    async def _drop(self, collection: str) -> None:
        await self._send("DELETE", f"/api/v1/collections/{collection}", also=(404,))
        for place in [place for place in self.promises.kept if place[0] == collection]:
            kept = self.promises.kept.pop(place)
            self.promises.gone[kept.id] = collection, kept.word

    async def _upload(
        self,
        collection: str,
        key: str | None,
        body: bytes,
        word: str,
        *,
        suffix: str = "txt",
        fails_with: str | None = None,
    ) -> Kept:
        data = {"collection": collection} | ({} if key is None else {"external_id": key})
        answer = await self._send("POST", "/api/v1/documents", data=data, files={"file": (f"{word}.{suffix}", body)})
        kept = Kept(answer.json()["document"]["id"], hashlib.sha256(body).hexdigest(), word, fails_with)
        self.promises.kept[collection, key or f"nameless {word}"] = kept
        return kept

    async def _send(self, method: str, path: str, *, also: tuple[int, ...] = (), **request: Any) -> httpx.Response:
        headers = {"Idempotency-Key": f"{self.collection}-{self._random.getrandbits(64):x}"} if method == "POST" else {}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            began = time.monotonic()
            try:
                answer = await self._client.request(method, path, headers=headers, timeout=30, **request)
                self._note(answer, f"{method} {path}", time.monotonic() - began)
                if answer.status_code < 300 or answer.status_code in also:
                    return answer
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path} was never acknowledged")
            await asyncio.sleep(0.3)

    def _note(self, answer: httpx.Response, what: str, seconds: float) -> None:
        self.promises.answers.append(
            Answered(time.monotonic(), seconds, answer.status_code, what, "retry-after" in answer.headers)
        )
        if answer.status_code == 503 and "retry-after" not in answer.headers:
            self.promises.surprises.append(f"{what}: 503 without Retry-After")
        if answer.status_code not in (200, 202, 204, 404, 409, 429, 503, 507):
            self.promises.surprises.append(f"{what}: {answer.status_code} {answer.text[:300]}")

    async def _watch(self) -> None:
        """Search for deleted documents all the time: one that was acknowledged as deleted must never be found."""
        while True:
            gone = dict(self.promises.gone)
            if gone:
                await self._search_for(gone)
            await asyncio.sleep(0.5)

    async def _search_for(self, gone: dict[str, tuple[str, str]]) -> None:
        collection, word = self._random.choice(list(gone.values()))
        try:
            answer = await _search(self._client, collection, word)
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            self.promises.surprises += [f"deleted, and found by a search: {each}" for each in _ids(answer) & set(gone)]
        elif answer.status_code not in (404, 429, 503):
            self.promises.surprises.append(f"POST /api/v1/search: {answer.status_code} {answer.text[:300]}")


def make_body(chance: random.Random, word: str, suffix: str, *, sentences: int = 0) -> bytes:
    """A file of 1 to 20 sentences, or as many as said, that holds `word` at least once."""
    lines = [
        _SENTENCE.format(n=chance.randrange(10_000), year=1000 + chance.randrange(1000), word=word)
        for _ in range(sentences or chance.randint(1, 20))
    ]
    if suffix == "html":
        return f"<html><title>{word}</title><p>{'</p><p>'.join(lines)}</p></html>".encode()
    if suffix == "csv":
        return ("field,told\n" + "\n".join(f'{i},"{line}"' for i, line in enumerate(lines))).encode()
    return "\n\n".join(lines).encode()


async def broken_promises(client: httpx.AsyncClient, promises: Promises, *, search_for: int = 6) -> list[str]:
    """Where the API does not say what was acknowledged, when no work is left."""
    wrong = list(promises.surprises)
    for (collection, key), kept in promises.kept.items():
        answer = await client.get(f"/api/v1/documents/{kept.id}")
        if answer.status_code != 200:
            wrong.append(f"lost: {collection}/{key} {kept.id}: {answer.status_code}")
        elif problem := _wrong_with(answer.json(), kept):
            wrong.append(f"{collection}/{key} {kept.id}: {problem}")
    for document_id in promises.gone:
        answer = await client.get(f"/api/v1/documents/{document_id}")
        if answer.status_code != 404:
            wrong.append(f"resurrected: {document_id}: {answer.status_code}")
    archives = [(place[0], kept) for place, kept in promises.kept.items() if kept.members]
    for collection, kept in archives[:search_for]:
        for word in kept.members:
            if not _ids(await _search(client, collection, word)):
                wrong.append(f"not found: the member of {kept.id} with {word}")
    ready = [(place[0], kept) for place, kept in promises.kept.items() if not kept.fails_with and not kept.members]
    for collection, kept in ready[:search_for]:
        text = await client.get(f"/api/v1/documents/{kept.id}/text")
        if kept.word not in text.text:
            wrong.append(f"{kept.id}: its text, {text.status_code} {text.text[:100]!r}, has no {kept.word}")
        answer = await _search(client, collection, kept.word)
        if kept.id not in _ids(answer):
            wrong.append(f"not found: {kept.id} by {kept.word}: {answer.status_code} {answer.text[:300]}")
    for document_id, (collection, word) in list(promises.gone.items())[:search_for]:
        if document_id in _ids(await _search(client, collection, word)):
            wrong.append(f"resurrected: {document_id} is found by {word}")
    return wrong


def _wrong_with(document: dict[str, Any], kept: Kept) -> str | None:
    if document["sha256"] != kept.sha256:
        return f"holds {document['sha256'][:12]}, not {kept.sha256[:12]}"
    if kept.fails_with is None:
        return None if document["state"] == "ready" else f"is {document['state']}: {document.get('error')}"
    error = document.get("error") or {}
    if document["state"] == "failed" and error.get("code") == kept.fails_with and error.get("hint"):
        return None
    return f"is {document['state']} ({error}), not failed with {kept.fails_with}"


async def _search(client: httpx.AsyncClient, collection: str, word: str) -> httpx.Response:
    # By words alone: the vectors of these tests mean nothing, and would bring up anybody.
    question = {"query": word, "collection": collection, "mode": "lexical"}
    return await client.post("/api/v1/search", json=question, timeout=10)


def _ids(answer: httpx.Response) -> set[str]:
    """The documents that a search found; none where its collection is gone."""
    return {hit["document"]["id"] for hit in answer.json().get("hits", [])}
