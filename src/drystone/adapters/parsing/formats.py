"""Which formats are read, and what a file is: by its declared type, its suffix and its first bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal

from drystone.adapters.parsing.failures import failure
from drystone.core.errors import Invalid

Family = Literal["text", "pdf", "rtf", "zip", "office"]
Encoding = Literal["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
Sniffed = Literal["empty", "text", "html", "xml", "rtf", "pdf", "zip", "ole", "binary"]

_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_POWERPOINT = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_OPEN = "application/vnd.oasis.opendocument."
# An archive is no document of its own: each of its members is one.
ARCHIVE = "application/zip"


@dataclass(frozen=True)
class Format:
    """A format that is read.

    family: what its first bytes must look like.
    readers: modules of this package that read it; the next one is tried when a child dies of the one before.
    shares_child: whether they are Python alone, so that a child may read one document after the other.
    """

    media_type: str
    suffixes: tuple[str, ...]
    family: Family
    readers: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    shares_child: bool = False


_FORMATS = (
    Format("text/plain", (".txt", ".text"), "text", ("read_text",), shares_child=True),
    Format(
        "text/markdown", (".md", ".markdown", ".mdown", ".mkd"), "text", ("read_markdown",), ("text/x-markdown",), True
    ),
    Format("text/html", (".html", ".htm", ".xhtml", ".xht"), "text", ("read_html",), ("application/xhtml+xml",)),
    Format(
        "text/csv",
        (".csv", ".tsv", ".tab"),
        "text",
        ("read_csv",),
        ("application/csv", "text/x-csv", "text/tab-separated-values", "text/comma-separated-values"),
        shares_child=True,
    ),
    Format("application/pdf", (".pdf",), "pdf", ("read_pdf", "read_pdf_again"), ("application/x-pdf",)),
    Format(_WORD, (".docx", ".docm", ".dotx"), "office", ("read_docx",)),
    Format(_EXCEL, (".xlsx", ".xlsm", ".xltx"), "office", ("read_xlsx",)),
    Format(_POWERPOINT, (".pptx", ".pptm", ".ppsx", ".potx"), "office", ("read_pptx",)),
    Format(f"{_OPEN}text", (".odt", ".ott"), "zip", ("read_odf",), (f"{_OPEN}text-template",)),
    Format(f"{_OPEN}spreadsheet", (".ods", ".ots"), "zip", ("read_odf",), (f"{_OPEN}spreadsheet-template",)),
    Format(f"{_OPEN}presentation", (".odp", ".otp"), "zip", ("read_odf",), (f"{_OPEN}presentation-template",)),
    Format(f"{_OPEN}text-flat-xml", (".fodt", ".fods", ".fodp"), "text", ("read_odf",)),
    Format("application/epub+zip", (".epub",), "zip", ("read_epub",)),
    Format("application/rtf", (".rtf",), "rtf", ("read_rtf",), ("text/rtf", "text/richtext", "application/x-rtf")),
    Format(
        "message/rfc822",
        (".eml", ".mht", ".mhtml"),
        "text",
        ("read_eml",),
        ("multipart/related", "application/x-mimearchive"),
    ),
    Format(
        "application/json",
        (".json", ".geojson"),
        "text",
        ("read_json",),
        ("text/json", "application/geo+json", "application/ld+json"),
        shares_child=True,
    ),
    Format(
        "application/x-ndjson",
        (".jsonl", ".ndjson"),
        "text",
        ("read_json",),
        ("application/jsonl", "application/x-jsonlines", "application/jsonlines", "application/ndjson"),
        shares_child=True,
    ),
    Format(
        "application/xml",
        (".xml", ".rss", ".atom", ".svg", ".dbk", ".kml", ".gpx"),
        "text",
        ("read_xml",),
        ("text/xml", "application/rss+xml", "application/atom+xml", "image/svg+xml"),
    ),
    Format(ARCHIVE, (".zip",), "zip", ("read_zip",), ("application/x-zip-compressed", "application/x-zip")),
)

SUPPORTED: Mapping[str, Format] = MappingProxyType({f.media_type: f for f in _FORMATS})

_BY_NAME = {name: f for f in _FORMATS for name in (f.media_type, *f.aliases)}
_BY_SUFFIX = {suffix: f for f in _FORMATS for suffix in f.suffixes}
_FAMILY_OF: dict[Sniffed, frozenset[Family]] = {
    "empty": frozenset(("text", "pdf", "rtf", "zip", "office")),
    "text": frozenset(("text",)),
    "html": frozenset(("text",)),
    "xml": frozenset(("text",)),
    "rtf": frozenset(("rtf",)),
    "pdf": frozenset(("pdf",)),
    "zip": frozenset(("zip", "office")),
    # Word, Excel and PowerPoint wrap an encrypted file in an old binary container; the reader says which it is.
    "ole": frozenset(("office",)),
    "binary": frozenset(),
}
_KINDS: dict[Sniffed, str] = {
    "text": "plain text",
    "html": "an HTML page",
    "xml": "XML",
    "rtf": "an RTF document",
    "pdf": "a PDF",
    "zip": "a ZIP archive or an Office document",
}
# Before Office 2007, and messages of Outlook: OLE containers, which no library reads well and small.
_LEGACY_SUFFIXES = {
    ".doc": ".docx", ".dot": ".docx", ".xls": ".xlsx", ".xlt": ".xlsx", ".xlsb": ".xlsx", ".ppt": ".pptx",
    ".pps": ".pptx", ".pot": ".pptx", ".msg": ".eml", ".vsd": ".pdf", ".pub": ".pdf",
}  # fmt: skip
# Text by its bytes, but of a kind whose words are not its lines. Refused until a reader exists.
_REFUSED_SUFFIXES = frozenset((".mbox", ".xsl", ".xslt", ".xsd", ".ps", ".eps"))
_REFUSED_TYPE = re.compile(
    r"(image|audio|video|font|model|message|multipart)/|(application|text)/(xml|rtf|richtext)$|.*\+xml$"
    r"|application/(msword|zip|gzip|vnd\.|epub|x-(?!www-form|empty|sh|python|yaml|tex|javascript|httpd|ndjson))"
)
# What clients send when they do not know; Windows calls every .csv a sheet of Excel, and some call a .docx a zip.
_GENERIC = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"))
_LOOSE = frozenset(
    ("application/msword", "application/vnd.ms-excel", "application/zip", "application/x-zip-compressed")
)


# How pictures, sound, programs and packed files begin, whatever follows: what follows may look like text.
_BINARY_MARKS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n",
    b"GIF87a",
    b"GIF89a",
    b"RIFF",
    b"OggS",
    b"\x7fELF",
    b"\x1f\x8b",  # gzip
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf'",
    b"Rar!\x1a",
    b"SQLite format 3\0",
)


def media_type_of(name: str | None, declared: str | None, head: bytes) -> str:
    """The media type in `SUPPORTED` that a file has.

    declared: the caller's Content-Type, if any; head: the first 4 kB or so.
    Raises Invalid("document.legacy_office") for binary Office files, Invalid("document.wrong_type") for a file that could
    be read under another name, and Invalid("document.unsupported_type") for every other one.
    """
    declared, suffix = _stated(name, declared)
    sniffed = sniff(head)
    if suffix in _LEGACY_SUFFIXES and sniffed in ("ole", "rtf", "zip", "empty"):
        raise _legacy(name, declared, suffix)
    found = _expected(declared, suffix) or _from_bytes(declared, suffix, sniffed, head)
    if found is None or found.family not in _FAMILY_OF[sniffed]:
        if sniffed == "ole":
            raise _legacy(name, declared, suffix)
        if found is None or sniffed not in _KINDS:
            raise _unsupported(name, declared, sniffed)
        raise _mistaken(name, declared, sniffed, found)
    return found.media_type


def check_readable(name: str | None, declared: str | None) -> None:
    """Raise what `media_type_of` would raise whatever the bytes are: for a file that is announced and not there yet."""
    declared, suffix = _stated(name, declared)
    kinds = [kind for kind, families in _FAMILY_OF.items() if families]
    if _expected(declared, suffix) is None and not any(_from_bytes(declared, suffix, kind, b"") for kind in kinds):
        raise _legacy(name, declared, suffix) if suffix in _LEGACY_SUFFIXES else _unsupported(name, declared, "empty")


def _stated(name: str | None, declared: str | None) -> tuple[str, str]:
    """Declared type and suffix in the form that the tables have."""
    media_type = (declared or "").partition(";")[0].strip().lower()
    return media_type, PurePosixPath((name or "").replace("\\", "/")).suffix.lower()


def sniff(head: bytes) -> Sniffed:
    """What the first bytes of a file look like."""
    if not head:
        return "empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return "zip"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "ole"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if b"%PDF-" in head[:1024]:  # leading junk is common; readers accept the mark within the first 1024 bytes
        return "pdf"
    if head.startswith(_BINARY_MARKS) or _is_binary(head):
        return "binary"
    return _sniff_markup(head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower())


def _sniff_markup(head: bytes) -> Sniffed:
    head = re.sub(rb"^(<!--.*?-->|\s)+", b"", head, flags=re.DOTALL)
    if re.match(rb"<!doctype html|<(html|head|body|title|script|style|meta|h1|div|p|table|link)\b", head):
        return "html"
    if head.startswith((b"<?xml", b"<!doctype")):
        return "html" if re.search(rb"<html\b", head) else "xml"
    return "text"


def _is_binary(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")) or looks_like_unicode(head):
        return False
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r\f\x1b") + head.count(0x7F)
    return controls * 200 > len(head)


def looks_like_unicode(data: bytes) -> Encoding | None:
    """UTF-32 or UTF-16 without a mark and its byte order, judged by where its zero bytes and high bytes stand."""
    sample = data[: min(len(data), 4096) & ~3] or data[:2]
    if len(sample) < 4 or not _CONTROLS.search(sample):
        return None
    for encoding, high, higher in (("utf-32-le", 3, 2), ("utf-32-be", 0, 1)):
        if not any(sample[high::4]) and max(sample[higher::4]) <= 0x10:
            return encoding  # type: ignore[return-value]  # one of the two above
    units = len(sample) // 2
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if odd > units * 0.4 and even < units * 0.05:
        return "utf-16-le"
    if even > units * 0.4 and odd < units * 0.05:
        return "utf-16-be"
    if sum(map(_is_printable_ascii, sample)) > len(sample) * 0.9:
        return None
    little, big = _likeness(sample[1::2]), _likeness(sample[::2])
    return None if little == big else "utf-16-le" if little > big else "utf-16-be"


def _is_printable_ascii(byte: int) -> bool:
    return 0x20 <= byte < 0x7F or byte in b"\t\n\r"


def _likeness(high: bytes) -> int:
    """How well these could be the high bytes of a text: 2 for one alphabet, 1 for ideographs or syllables, else 0."""
    own = [byte for byte in high if byte not in (0x00, 0x20, 0x30, 0xFF)]  # ASCII, punctuation, kana, wide forms
    alphabet = sum(count for _, count in Counter(own).most_common(2))
    if max(own, default=0) < 0x20 and alphabet >= len(own) * 0.95:
        return 2
    ideographs, syllables = (sum(low <= byte <= top for byte in own) for low, top in ((0x4E, 0x9F), (0xAC, 0xD7)))
    return int(max(ideographs, syllables) >= len(own) * 0.95)


def _expected(declared: str, suffix: str) -> Format | None:
    """The format that declared type and suffix name; within text the suffix is the more exact of the two."""
    by_type, by_suffix = _BY_NAME.get(declared), _BY_SUFFIX.get(suffix)
    if declared in _LOOSE and by_suffix is not None:
        return by_suffix
    if by_type is None:
        is_open = declared in _GENERIC or declared in _LOOSE or not _REFUSED_TYPE.match(declared)
        return by_suffix if is_open else None
    if declared == "text/plain":
        if suffix in _REFUSED_SUFFIXES:
            return None
        if by_suffix is not None and by_suffix.family in ("text", "rtf"):
            return by_suffix
    if by_suffix is not None and by_suffix.readers == by_type.readers:
        return by_suffix
    return by_type


def _from_bytes(declared: str, suffix: str, sniffed: Sniffed, head: bytes) -> Format | None:
    """The format of a file that neither its type nor its suffix names."""
    if suffix in _REFUSED_SUFFIXES or _REFUSED_TYPE.match(declared) or suffix in _BY_SUFFIX:
        return None
    if sniffed == "zip":
        return None if suffix else _zip_format(head)
    by_bytes = {
        "pdf": "application/pdf",
        "html": "text/html",
        "xml": "application/xml",
        "rtf": "application/rtf",
        "text": "text/plain",
        "empty": "text/plain",
    }
    return _BY_NAME.get(by_bytes.get(sniffed, ""))


def _zip_format(head: bytes) -> Format:
    """What a zip is by its first members: EPUB and OpenDocument begin with their type, Office files with their parts."""
    stated = re.search(rb"mimetype(application/[a-z0-9.+-]{1,80})", head[:200])
    if stated and (found := _BY_NAME.get(stated[1].decode())):
        return found
    for folder, media_type in ((b"word/", _WORD), (b"xl/", _EXCEL), (b"ppt/", _POWERPOINT)):
        if folder in head:
            return _BY_NAME[media_type]
    return _BY_NAME[ARCHIVE]


def _legacy(name: str | None, declared: str, suffix: str) -> Invalid:
    target = _LEGACY_SUFFIXES.get(suffix, ".docx, .xlsx or .pptx")
    return Invalid(
        "document.legacy_office",
        "The file is in a binary format of old Office programs, which is not read.",
        hint=f"open it in the program that made it, or in LibreOffice, save it as {target} and upload that",
        name=name,
        declared=declared or None,
        supported=list(SUPPORTED),
    )


def _mistaken(name: str | None, declared: str, sniffed: Sniffed, found: Format) -> Invalid:
    """A file whose bytes are of a kind that is read, but not of the one that its name or declared type says."""
    suffix = PurePosixPath((name or "").replace("\\", "/")).suffix
    said = f"name says {suffix}" if suffix.lower() in found.suffixes else f"declared type is {declared}"
    return failure(
        "document.wrong_type",
        f"The file is {_KINDS[sniffed]}, but its {said}.",
        name=name,
        declared=declared or None,
        looks_like=sniffed,
        supported=list(SUPPORTED),
    )


def _unsupported(name: str | None, declared: str, sniffed: Sniffed) -> Invalid:
    suffixes = ", ".join(suffix for f in _FORMATS for suffix in f.suffixes[:1])
    return Invalid(
        "document.unsupported_type",
        "The file is of a type that cannot be read.",
        hint=f"supported are {suffixes} and other plain text; the bytes must be what name and type say",
        name=name,
        declared=declared or None,
        looks_like=sniffed,
        supported=list(SUPPORTED),
    )
