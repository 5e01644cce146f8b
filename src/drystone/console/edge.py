"""All pages, and what stands before their routes."""

from __future__ import annotations

from drystone.console import (
    asking,
    audit,
    catalogue,
    collections,
    documents,
    doors,
    editor,
    entities,
    jobs,
    keys,
    overview,
    pages,
    reference,
    reviewing,
    searching,
    statics,
    webhooks,
)
from drystone.http.edges import Edge

# What is of no other edge: a browser is told in pages of what is not there. A form is a key, a collection with its description, an entity of a draft.
PAGES = Edge(tell=pages.tell, uploads=(("POST", "/collections/{name}/documents"),), form_bytes=pages.MOST_FORM_BYTES)
ROUTERS = [
    statics.router,
    doors.router,
    overview.router,
    collections.router,
    documents.router,
    searching.router,
    asking.router,
    jobs.router,
    webhooks.router,
    catalogue.router,
    reviewing.router,
    editor.router,
    entities.router,
    keys.router,
    audit.router,
    reference.router,
]
