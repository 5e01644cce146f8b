"""Bytes of text to characters, when nobody, or nobody truthful, says in which encoding they are.

Unicode first, since it can be proved. For the older encodings every candidate decodes the bytes and the languages
written in it say how much of the result looks like them; the best wins. charset-normalizer is asked when none does:
on thirty letters it names the right encoding for half of the samples of our test, this for nine tenths.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from drystone.adapters.parsing.formats import looks_like_unicode

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ISO_2022 = re.compile(rb"\x1b(\$[@B]|\([BJI]|\$\([DC])")
_SAMPLE_BYTES = 64_000
_SAMPLE_CHARS = 3_000
_DAMAGE_COSTS = 5  # how many good characters one that cannot be decoded undoes
# Names that people and programs write, and what they mean by them (as browsers read them).
_MEANT = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "shift_jis": "cp932", "gb2312": "gb18030",
    "gbk": "gb18030", "euc_kr": "cp949", "tis-620": "cp874", "iso8859-11": "cp874", "big5": "big5hkscs",
}  # fmt: skip


def decode(body: bytes, declared: str | None = None) -> str:
    """The characters of a text.

    declared: the encoding it is said to be in, if any; believed when the bytes fit it.
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    if byte_order := looks_like_unicode(body):
        return body.decode(byte_order, "replace")
    if _ISO_2022.search(body) and (text := _try(body, "iso2022_jp_2")) is not None:
        return text
    if (text := _try(body, "utf-8")) is not None:
        return text  # whatever is declared: other encodings do not look like UTF-8 by chance
    if declared and (text := _as_declared(body, declared)) is not None:
        return text
    return body.decode("utf-8", "replace") if _is_damaged_utf8(body) else body.decode(detect(body), "replace")


def detect(body: bytes) -> str:
    """The likeliest encoding of bytes that are not Unicode."""
    sample = _sample(body)
    best_score, best = 0.0, "cp1252"
    for encoding, score_of in _candidates():
        text = codecs.getincrementaldecoder(encoding)("replace").decode(sample)  # the sample may end within a character
        score = score_of(text) - _DAMAGE_COSTS * text.count("\ufffd") / max(1, len(_NON_ASCII.findall(text)))
        if score > best_score + 1e-9:
            best_score, best = score, encoding
    return best if best_score >= 0.5 else _ask_charset_normalizer(sample) or best


def _as_declared(body: bytes, declared: str) -> str | None:
    try:
        name = codecs.lookup(declared.strip().strip("\"'")).name
    except (LookupError, ValueError):
        return None
    if name.startswith(("utf-16", "utf-32", "utf-7")) or name in ("idna", "punycode", "unicode_escape", "undefined"):
        return None  # without a mark or zero bytes it is not; the page was converted and kept the old word
    return _try(body, _MEANT.get(name, name))


def _try(body: bytes, encoding: str) -> str | None:
    try:
        return body.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _is_damaged_utf8(body: bytes) -> bool:
    """Whether the bytes are UTF-8 but for a few: cut off, or with a stray byte of another encoding."""
    text = body[: _SAMPLE_BYTES * 4].decode("utf-8", "replace")
    whole = len(re.findall(r"[^\x00-\x7f\ufffd]", text))
    return whole > 20 * text.count("\ufffd")


def _sample(body: bytes) -> bytes:
    """Lines that hold more than ASCII, up to a limit."""
    if len(body) <= _SAMPLE_BYTES:
        return body
    lines = [line for line in body[: _SAMPLE_BYTES * 64].splitlines(keepends=True) if not line.isascii()]
    return b"".join(lines)[:_SAMPLE_BYTES] or body[:_SAMPLE_BYTES]


def _candidates() -> Iterator[tuple[str, Callable[[str], float]]]:
    """Encodings and how to score their text, from the likelier to the less likely; the first of equals wins."""
    for encoding, languages in _LATIN.items():
        yield encoding, partial(_score_latin, languages)
    for encoding, letters in _OTHER_SCRIPTS:
        yield encoding, partial(_score_script, letters)
    for encoding, weigh in _DOUBLE_BYTE.items():
        yield encoding, partial(_score_double_byte, encoding, weigh)


_WEST = (
    "àâæçéèêëîïôœùûüÿ",  # French
    "áâãàçéêíóôõúº",  # Portuguese
    "áéíóúñü",  # Spanish
    "àèéìíîòóùú",  # Italian
    "äöüß",  # German
    "åäöæøé",  # the North
    "áðéíóúýþæö",  # Icelandic
    "àçèéíïòóúü",  # Catalan
)
_MIDDLE = (
    "ąćęłńóśźż",  # Polish
    "áčďéěíňóřšťúůýž",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "áéíóöőúüű",  # Hungarian
    "čćđšž",  # Croatian
    "ăâîşţ",  # Romanian
)
_LATIN = {
    "cp1252": _WEST,
    "cp1250": _MIDDLE,
    "iso8859_2": _MIDDLE,
    "cp1254": ("çğıöşüâîû",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž"),
    "mac_roman": _WEST,
    "cp850": _WEST,
    "cp852": _MIDDLE,
}
_SEVERAL = "àáâãäåæçèéêëìíîïñòóôöøùúûüßœ"
_SIGNS = frozenset("“”‘’‚„–—…€°«»§©®·×½¿¡•™£ºª\u00a0\u00ad")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")


def _score_latin(languages: tuple[str, ...], text: str) -> float:
    """Share of the characters beyond ASCII that one of the languages would have where they stand."""
    letters: list[str] = []
    signs, total = 0, 0
    for match in islice(_NON_ASCII.finditer(text), _SAMPLE_CHARS):
        char, at = match[0], match.start()
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        total += 1
        if not char.isalpha():
            # A sign between two letters is a letter of another encoding; an apostrophe is not.
            signs += char in _SIGNS and (char == "’" or not (before.isalpha() and after.isalpha()))
        elif not (char.isupper() and before.islower()) and before.isascii() + after.isascii() > 0:
            letters.append(char.lower().replace("i̇", "ı"))
    if not total:
        return 0.0
    best: float = max(sum(map(language.__contains__, letters)) for language in languages)
    if languages is _WEST:
        best = max(best, 0.85 * sum(map(_SEVERAL.__contains__, letters)))
    return (best + signs) / total


# The letters of each language, the ten commonest first. A wrong encoding gives letters of some script as well, but
# rarely its common ones.
_OTHER_SCRIPTS = (
    ("cp1251", "оеаинтсрвлкмдпуяызьгбчйхжюшцщэфъё"),
    ("koi8_r", "оеаинтсрвлкмдпуяызьгбчйхжюшцщэфъё"),
    ("cp866", "оеаинтсрвлкмдпуяызьгбчйхжюшцщэфъё"),
    ("iso8859_5", "оеаинтсрвлкмдпуяызьгбчйхжюшцщэфъё"),
    ("mac_cyrillic", "оеаинтсрвлкмдпуяызьгбчйхжюшцщэфъё"),
    ("cp1251", "оанитевірсклудпмяьзбгйчхжцюшєїщфґ"),
    ("koi8_u", "оанитевірсклудпмяьзбгйчхжцюшєїщфґ"),
    ("cp1253", "αοιετσνηυρπκμλςόίάήγέδωχθύφβώξζψϊϋ"),
    ("iso8859_7", "αοιετσνηυρπκμλςόίάήγέδωχθύφβώξζψϊϋ"),
    ("cp1255", "יהולאתרבמשנכפדעקחטסגצםןזךףץ"),
    ("cp1256", "اليمنوتربعةدسفكهحقجأشصخذضطىزغثإءئظؤآً"),
    ("iso8859_6", "اليمنوتربعةدسفكهحقجأشصخذضطىزغثإءئظؤآً"),
    ("cp874", "านรกอเงม่วยลสดท้ตะีิคัปบหแ็จใพไชขุูโ์ืผถซฟณธศฐฉภญฎษฬฏ"),
)


def _score_script(letters: str, text: str) -> float:
    """How common the letters are in the language: 1 for the ten commonest, less for the others and for capitals."""
    common, known = frozenset(letters[:10]), frozenset(letters)
    score, total = 0.0, 0
    for match in islice(_NON_ASCII.finditer(text), _SAMPLE_CHARS):
        char, before = match[0], text[match.start() - 1 : match.start()]
        total += 1
        if (before + text[match.end() : match.end() + 1]).isascii() and before.isalpha():
            continue  # alone among Latin letters
        if char in common:
            score += 1.0
        elif char in known:
            score += 0.7
        elif char.lower() in known:
            score += 0.1 if before.isalpha() else 0.5
        elif char in _SIGNS and not before.isalpha():
            score += 0.5
    return score / total if total else 0.0


def _weigh_japanese(char: str, lead: int) -> float:
    if "\u3041" <= char <= "\u30ff" or char in "、。「」・ー":
        return 1.0
    return 0.8 if (0x88 <= lead <= 0x97 or 0xB0 <= lead <= 0xCF) and char >= "\u4e00" else 0.4 if lead == 0x81 else 0.1


def _weigh_chinese(char: str, lead: int) -> float:
    if char in "，。、：；！？（）“”《》":
        return 1.0
    return 0.9 if 0xB0 <= lead <= 0xD7 else 0.1


def _weigh_traditional(char: str, lead: int) -> float:
    if char in "，。、：；！？（）「」《》":
        return 1.0
    return 0.9 if 0xA4 <= lead <= 0xC6 else 0.1


def _weigh_korean(char: str, lead: int) -> float:
    return 0.95 if 0xB0 <= lead <= 0xC8 and "\uac00" <= char <= "\ud7a3" else 0.1


_DOUBLE_BYTE: dict[str, Callable[[str, int], float]] = {
    "cp932": _weigh_japanese,
    "euc_jp": _weigh_japanese,
    "gb18030": _weigh_chinese,
    "big5": _weigh_traditional,
    "cp949": _weigh_korean,
}


def _score_double_byte(encoding: str, weigh: Callable[[str, int], float], text: str) -> float:
    """How common the characters are, judged by their place in the encoding's table, commonest rows first."""
    score, total, lone = 0.0, 0, 0
    for match in re.finditer(r"[^\x00-\x7f]+", text):
        lone += len(match[0]) == 1
        for char in match[0]:
            code = char.encode(encoding, "replace")
            score += weigh(char, code[0]) if len(code) == 2 else 0.0
            total += 1
        if total >= _SAMPLE_CHARS:
            break
    # In Latin text a letter with an accent swallows its neighbour: characters that all stand alone.
    return score / total * (1 - 0.5 * lone / total) if total else 0.0


def _ask_charset_normalizer(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes  # costs 60 ms, and is asked for one text in a thousand

    best = from_bytes(sample).best()
    return best.encoding if best else None
