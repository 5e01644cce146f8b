"""Which tables go into a bundle, and why the others do not: the one place that says so. A test fails for a table it lacks."""

from __future__ import annotations

# Table -> how it is carried.
CARRIED = {
    "collections": "`collections.ndjson`",
    "documents": "`documents.ndjson`; deleted ones are left out",
    "versions": "`documents.ndjson`, within their document",
    "files": "`documents.ndjson`, within their version; the bytes under `blobs/`",
    "chunks": "`chunks/NNNN.ndjson`, of the versions that search sees",
    "vectors_*": "`chunks/NNNN.npy`, a row for each line of `chunks/NNNN.ndjson`",
    "embedding_spaces": "`collections.ndjson`, model and dimension of each collection",
    "document_attributes": "not itself: made of documents' attributes by the database",
    "lexical_additions": "not itself: words are cut anew from the passages, as publishing does",
    "lexical_segments": "not itself: merged from additions by the worker",
    "lexical_postings": "not itself: part of segments",
    "entities": "`catalogue/entities.ndjson`, deleted ones too",
    "entity_versions": "`catalogue/entities.ndjson`, within their entity",
    "modules": "`catalogue/modules.ndjson`, deleted ones too",
    "module_versions": "`catalogue/modules.ndjson`, within their module",
    "module_members": "`catalogue/modules.ndjson`, within the version of their module",
    "profiles": "`catalogue/profiles.ndjson`, deleted ones too",
    "profile_versions": "`catalogue/profiles.ndjson`, within their profile",
    "catalogue_edges": "not itself: made of what versions say",
    "series": "`observations/series.ndjson`, of entities that are not deleted",
    "observations": "`observations/rows.ndjson`",
    "observation_hours": "not itself: made anew of the rows",
}

# Table -> why it stays.
LEFT = {
    "workspaces": "the bundle goes into a workspace of the other installation",
    "api_keys": "secrets of this installation",
    "audit": "says what happened here; the import has its own entries there",
    "idempotency_keys": "answers to requests that were sent here",
    "upload_usage": "what keys of this installation uploaded",
    "jobs": "work of this installation; what is still pending gets jobs there",
    "events": "what happened here; the import has its own there",
    "timeline": "of this database",
    "webhooks": "secrets of this installation, and who wants to hear of it",
    "webhook_deliveries": "calls of this installation",
    "batches": "uploads that somebody watched here",
    "direct_uploads": "uploads that are under way here",
    "reembeddings": "a change of model here; documents go with the vectors that searches ask",
    "kept_embeddings": "of documents that are being embedded",
    "blob_intents": "of uploads that are under way here",
    "blob_removals": "of removals that are under way here",
    "blob_checks": "when this store was checked",
    "deletions": "what was deleted here is not in the bundle",
    "catalogues": "counts the revisions of this catalogue",
    "catalogue_revisions": "what was done to this catalogue, when and by whom; the import is a revision there",
    "catalogue_changes": "of revisions",
    "lexical_removals": "of passages that are gone",
    "mentions": "made anew on import, of the passages and of the names there",
    "mention_rounds": "work of this installation",
    "vector_feeds": "of a graph outside",
    "vector_changes": "of a graph outside",
}
