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
    **dict.fromkeys(
        (
            "catalogues",
            "catalogue_changes",
            "catalogue_edges",
            "catalogue_revisions",
            "entities",
            "entity_versions",
            "modules",
            "module_members",
            "module_versions",
            "profiles",
            "profile_versions",
        ),
        "the catalogue is of the workspace, not of collections: `drystone catalogue export` writes it as files",
    ),
    "drafts": "a proposal belongs to where it was made, and rests on the catalogue there",
    "lexical_removals": "of passages that are gone",
    "series": "observations go by CSV or NDJSON, and `pg_dump`",
    "observations": "as series",
    "observation_hours": "made of observations",
    "vector_feeds": "of a graph outside",
    "vector_changes": "of a graph outside",
}
