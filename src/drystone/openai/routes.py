"""All routes of this edge, for `web` to mount."""

from __future__ import annotations

from drystone.openai import embeddings, file_batches, files, models, store_files, uploads, vector_stores

ROUTERS = [room.router for room in (models, embeddings, files, uploads, vector_stores, store_files, file_batches)]
