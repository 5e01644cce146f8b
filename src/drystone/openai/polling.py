"""How soon it is worth another look at what is still being worked on."""

from __future__ import annotations

from fastapi import Response

POLL_AFTER_MS = 500


def tell(response: Response) -> None:
    """Say so in the header that OpenAI's clients wait by."""
    response.headers["openai-poll-after-ms"] = str(POLL_AFTER_MS)
