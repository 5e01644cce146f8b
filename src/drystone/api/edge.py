"""What stands before the routes of this edge, and of those for whoever holds the link of a draft."""

from __future__ import annotations

from drystone.http.dependencies import identify, identify_holder
from drystone.http.edges import Edge

V1 = Edge(
    mount="/api/v1",
    identify=identify,
    uploads=(("POST", "/documents"), ("POST", "/observations"), ("PUT", "/documents/{document_id}/content")),
)
# Here a link stands in place of a key.
BY_LINK = Edge(mount="/api/v1", under="/draft", identify=identify_holder, is_frank=True, is_told_once=True)
# Of a draft its link is told once, when it is made.
OF_DRAFTS = Edge(mount="/api/v1", under="/drafts", identify=identify, is_told_once=True)
