"""Drystone from Python: `Client` and `AsyncClient`, their errors, and what the API answers as types.

Imports nothing of the server, so it is quick to import; httpx is imported when a client is made.
"""

from __future__ import annotations

from drystone.client.aio import AsyncClient
from drystone.client.blocking import Client
from drystone.client.errors import (
    ApiError,
    Broken,
    Conflict,
    Denied,
    DocumentFailed,
    FieldProblem,
    FileChanged,
    Invalid,
    JobFailed,
    NotFound,
    StillPending,
    TooMany,
    Unavailable,
)
from drystone.client.models import (
    Answer,
    AnswerSentence,
    Batch,
    Buckets,
    Collection,
    Document,
    Entity,
    Event,
    Hit,
    Job,
    Observation,
    Passage,
    PassageHit,
    Received,
    SearchAnswer,
    Version,
)
from drystone.client.retrying import Retries

__all__ = [
    "Answer",
    "AnswerSentence",
    "ApiError",
    "AsyncClient",
    "Batch",
    "Broken",
    "Buckets",
    "Client",
    "Collection",
    "Conflict",
    "Denied",
    "Document",
    "DocumentFailed",
    "Entity",
    "Event",
    "FieldProblem",
    "FileChanged",
    "Hit",
    "Invalid",
    "Job",
    "JobFailed",
    "NotFound",
    "Observation",
    "Passage",
    "PassageHit",
    "Received",
    "Retries",
    "SearchAnswer",
    "StillPending",
    "TooMany",
    "Unavailable",
    "Version",
]
