"""What a file is: by its declared type, its suffix and its first bytes."""

from __future__ import annotations

import random

import pytest

from drystone.adapters.parsing import SUPPORTED, check_readable, media_type_of
from drystone.core.errors import Invalid

_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_OPEN = "application/vnd.oasis.opendocument."
_ZIP = b"PK\x03\x04\x14\x00" + b"\x00" * 30
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 100
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.mark.parametrize(
    ("name", "declared", "head", "expected"),
    [
        ("a.txt", None, b"hello", "text/plain"),
        ("a.txt", "application/octet-stream", b"hello", "text/plain"),
        ("README", None, b"hello", "text/plain"),
        ("server.log", "application/octet-stream", b"GET / 200", "text/plain"),
        ("wall.py", "text/x-python", b"import os\n", "text/plain"),
        (None, None, b"hello", "text/plain"),
        (None, "text/plain; charset=utf-8", b"hello", "text/plain"),
        ("a.txt", None, b"", "text/plain"),
        ("notes.md", "text/plain", b"# Title", "text/markdown"),
        ("notes.MARKDOWN", "application/octet-stream", b"# Title", "text/markdown"),
        ("table.csv", "application/vnd.ms-excel", b"a,b\n1,2\n", "text/csv"),
        ("table.tsv", "text/tab-separated-values", b"a\tb\n", "text/csv"),
        ("page.html", "text/html; charset=utf-8", b"<p>x", "text/html"),
        ("page.xhtml", "application/xhtml+xml", b"<?xml version='1.0'?><html>", "text/html"),
        (None, None, b"<!DOCTYPE html><html>", "text/html"),
        (None, None, b"\xef\xbb\xbf <!-- a licence -->\n<html lang=en>", "text/html"),
        ("page.txt", "text/plain", b"<html>", "text/plain"),
        ("a.txt", None, "größe".encode("utf-16"), "text/plain"),
        ("a.txt", None, "some words".encode("utf-16-le"), "text/plain"),
        ("a.txt", None, "日本語".encode("iso2022_jp"), "text/plain"),
        ("a.pdf", None, b"%PDF-1.7\n%\xe2\xe3", "application/pdf"),
        ("a.pdf", "application/pdf", b"junk\n" * 20 + b"%PDF-1.7", "application/pdf"),
        (None, "application/octet-stream", b"%PDF-1.4", "application/pdf"),
        ("a.docx", "application/octet-stream", _ZIP, _DOCX),
        ("a.docx", "application/zip", _ZIP, _DOCX),
        ("a.DOCX", None, _OLE, _DOCX),
        ("a.xlsx", _XLSX, _ZIP, _XLSX),
        ("upload", None, _ZIP + b"word/document.xml", _DOCX),
        ("C:\\folder\\a.xlsx", None, _ZIP, _XLSX),
        ("a.pptx", None, _ZIP, _PPTX),
        ("a.pptx", "application/zip", _ZIP, _PPTX),
        ("upload", None, _ZIP + b"ppt/presentation.xml", _PPTX),
        ("a.odt", "application/vnd.oasis.opendocument.text", _ZIP, f"{_OPEN}text"),
        ("upload", None, _ZIP + b"mimetypeapplication/epub+zip", "application/epub+zip"),
        ("upload", None, _ZIP + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", f"{_OPEN}spreadsheet"),
        ("a.zip", None, _ZIP + b"word/", "application/zip"),
        (None, "application/x-zip-compressed", _ZIP, "application/zip"),
        ("a.rtf", None, b"{\\rtf1 hello}", "application/rtf"),
        ("a.rtf", "text/plain", b"{\\rtf1 hello}", "application/rtf"),
        ("upload", None, b"{\\rtf1 hello}", "application/rtf"),
        ("a.eml", "text/plain", b"From: a@example.org\n\nhello", "message/rfc822"),
        ("mail", "message/rfc822", b"From: a@example.org\n\nhello", "message/rfc822"),
        ("page.mhtml", None, b"From: <Saved by Blink>\n", "message/rfc822"),
        ("a.json", "text/plain", b'{"a": 1}', "application/json"),
        ("a.jsonl", "application/json", b'{"a": 1}\n', "application/x-ndjson"),
        ("a.xml", None, b"<?xml version='1.0'?><a/>", "application/xml"),
        ("a.xml", "text/xml", b"<a/>", "application/xml"),
        ("data", None, b"<?xml version='1.0'?><a/>", "application/xml"),
        ("a.svg", "image/svg+xml", b"<svg/>", "application/xml"),
    ],
)
def test_a_supported_file_has_its_type(name: str | None, declared: str | None, head: bytes, expected: str) -> None:
    check_readable(name, declared)
    assert media_type_of(name, declared, head) == expected
    assert expected in SUPPORTED


@pytest.mark.parametrize(
    ("name", "declared", "head"),
    [
        ("mail.mbox", None, b"From a@example.org Sat Nov 21\nFrom: a@example.org\n\nhello"),
        ("a.odt", None, _OLE[:4]),
        ("a.png", "image/png", _PNG),
        ("a.txt", "text/plain", _PNG),
        ("a.pdf", "image/png", b"%PDF-1.4"),
        ("unknown", None, random.Random(1).randbytes(4096)),
        ("photo.jpg", None, b"\xff\xd8\xff\xe0" + b"0" * 200),
        ("pack.gz", None, b"\x1f\x8b" + b"0" * 200),
    ],
)
def test_anything_else_is_refused_with_a_list(name: str, declared: str | None, head: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        media_type_of(name, declared, head)

    assert caught.value.code == "document.unsupported_type"
    assert caught.value.values["supported"] == list(SUPPORTED)
    assert ".docx" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "declared", "head", "message"),
    [
        ("kite.txt", None, b"%PDF-1.4", "The file is a PDF, but its name says .txt."),
        ("fake.PDF", "application/pdf", b"hello", "The file is plain text, but its name says .PDF."),
        ("a.txt", "text/plain", b"{\\rtf1 hello}", "The file is an RTF document, but its name says .txt."),
        ("a.rtf", None, b"no rtf", "The file is plain text, but its name says .rtf."),
        ("a.docx", None, b"<html>", "The file is an HTML page, but its name says .docx."),
        ("a.json", None, _ZIP, "The file is a ZIP archive or an Office document, but its name says .json."),
        ("a.epub", None, b"%PDF-1.4", "The file is a PDF, but its name says .epub."),
        (
            "a.docx",
            "application/pdf",
            _ZIP,
            "The file is a ZIP archive or an Office document, but its declared type is application/pdf.",
        ),
        (None, "application/pdf", b"hello", "The file is plain text, but its declared type is application/pdf."),
    ],
)
def test_a_file_under_a_wrong_name_is_told_what_it_is(
    name: str | None, declared: str | None, head: bytes, message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        media_type_of(name, declared, head)

    assert (caught.value.code, caught.value.message) == ("document.wrong_type", message)
    assert caught.value.values["supported"] == list(SUPPORTED)


@pytest.mark.parametrize(
    ("name", "declared", "code"),
    [
        ("a.txt", "image/png", "document.unsupported_type"),
        ("mail.mbox", None, "document.unsupported_type"),
        (None, "video/mp4", "document.unsupported_type"),
        ("a.doc", "application/msword", "document.legacy_office"),
    ],
)
def test_what_no_bytes_make_readable_is_refused_without_them(name: str | None, declared: str | None, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_readable(name, declared)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "declared", "head"),
    [
        ("a.doc", None, _OLE),
        ("a.doc", "application/msword", _OLE),
        ("a.XLS", "application/vnd.ms-excel", _OLE),
        ("a.ppt", None, _OLE),
        ("mail.msg", None, _OLE),
        ("a.doc", None, b"{\\rtf1 hello}"),
        ("unnamed", None, _OLE),
        ("a.txt", "text/plain", _OLE),
        ("a.odt", None, _OLE),
    ],
)
def test_old_binary_office_files_are_refused_with_what_to_do(name: str, declared: str | None, head: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        media_type_of(name, declared, head)

    assert caught.value.code == "document.legacy_office"
    assert "save it as" in (caught.value.hint or "")
