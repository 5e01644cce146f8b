"""PDF through pypdf: slower and plainer, for files that PDFium cannot open or dies of."""

from __future__ import annotations

import logging

from pypdf import PdfReader
from pypdf.errors import FileNotDecryptedError, PyPdfError

from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.titles import sensible_title


def read(body: bytes, max_bytes: int) -> Parsed:
    """All pages in their order, line by line."""
    import io

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    builder = Builder(max_bytes)
    try:
        reader = PdfReader(io.BytesIO(body), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise failure("document.encrypted")
        pages = len(reader.pages)
    except FileNotDecryptedError as exc:
        raise failure("document.encrypted") from exc
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, OSError, IndexError) as exc:
        raise failure("document.corrupt", detail=f"{type(exc).__name__}: {exc}"[:300]) from exc
    for number in range(pages):
        builder.page()
        builder.block(_page_text(reader, number))
    return builder.done("pypdf", sensible_title(_title(reader)))


def _page_text(reader: PdfReader, number: int) -> str:
    """A page's text; nothing when that page is damaged."""
    try:
        return reader.pages[number].extract_text()
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError):
        return ""


def _title(reader: PdfReader) -> str | None:
    try:
        return reader.metadata.title if reader.metadata else None
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError):
        return None
