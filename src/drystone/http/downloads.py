"""Files as they are downloaded: the bytes that came, always as an attachment."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from fastapi.responses import StreamingResponse

from drystone.documents.models import File


def attachment(body: AsyncIterator[bytes], file: File, name: str) -> StreamingResponse:
    """The answer with the bytes of a file. name: that it is saved under."""
    return StreamingResponse(
        body,
        media_type=file.media_type,
        headers={
            "Content-Disposition": _disposition(name),
            "Content-Length": str(file.size_bytes),
            # For whoever may read the document at that moment, which is asked each time.
            "Cache-Control": "private, no-cache",
            "ETag": f'"{file.sha256.hex()}"',
        },
    )


def _disposition(name: str) -> str:
    """An attachment of this name, as RFC 6266 has it: for those who know no UTF-8 in letters and digits, and then whole."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
