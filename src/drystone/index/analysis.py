"""A text to the terms it is found by: cut into words, folded, without stop words, reduced to stems. Pure.

One analyser cuts passages and questions, so that both meet. A word is a run of letters, digits and their marks; scripts
that set no spaces are cut into pairs of neighbouring signs (and single ones, for questions of one sign). Case and accents
fold. Words are stemmed by Snowball's rules for the text's language. A term names its language, `en:wall`: what is a
stop word in one language is a word of its own in another.

An accent may decide how a word is stemmed: `précisée` and `precisee` have different stems. A word with accents is
therefore entered twice, stemmed as it is written and stemmed without them, and a question without accents finds it.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import regex
import Stemmer

from drystone.index.stopwords import STOP_WORDS

# Stored with what is indexed; raise it when the same text would give other terms.
ANALYSER_VERSION = 1
# A longer "word" is no word that anybody asks for: a key, a picture in base64. Its beginning is kept.
MAX_WORD_CHARS = 64
# A word of a title counts as so many of the passage.
TITLE_WEIGHT = 2

# Language -> its code in BCP 47; each has a stemmer of the same name. "simple": no stemming, no stop words.
LANGUAGES = {
    "arabic": "ar",
    "armenian": "hy",
    "basque": "eu",
    "catalan": "ca",
    "czech": "cs",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "esperanto": "eo",
    "estonian": "et",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hindi": "hi",
    "hungarian": "hu",
    "indonesian": "id",
    "irish": "ga",
    "italian": "it",
    "lithuanian": "lt",
    "nepali": "ne",
    "norwegian": "no",
    "persian": "fa",
    "polish": "pl",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "serbian": "sr",
    "spanish": "es",
    "swedish": "sv",
    "tamil": "ta",
    "turkish": "tr",
    "yiddish": "yi",
    "simple": "und",
}
_BY_CODE = {code: language for language, code in LANGUAGES.items()}

_SPACELESS = (
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}\p{Script=Lao}"
    r"\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}ー々〆"
)
_SIGN = rf"[{_SPACELESS}]\p{{M}}*"
_WORD = regex.compile(rf"(?P<signs>(?:{_SIGN})+)|(?P<word>(?:[[\p{{L}}\p{{N}}]--[{_SPACELESS}]]\p{{M}}*)+)", regex.V1)
# The same for the commonest texts, several times as fast: ASCII; Latin, Greek and Cyrillic letters without marks of their own.
_ASCII_WORD = re.compile(rf"([a-z0-9]{{1,{MAX_WORD_CHARS}}})[a-z0-9]*")
_PLAIN = re.compile(r"[\x00-\u02ff\u0370-\u0482\u048a-\u058f\u1e00-\u206f\u2070-\u20cf\u2100-\u2bff]*")
_PLAIN_WORD = re.compile(rf"([^\W_]{{1,{MAX_WORD_CHARS}}})[^\W_]*")
_SIGNS = regex.compile(rf"{_SIGN}", regex.V1)
# Accents and points over Latin, Greek, Cyrillic, Hebrew and Arabic letters. Signs of Indic scripts are letters.
_MARKS = regex.compile(r"[\u0300-\u0305\u0307-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0640]")
_SPELT_OUT = str.maketrans(
    {"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ё": "е"}
)


@dataclass(frozen=True)
class Analysed:
    """What a passage is found by. counts: how often each term stands in it. length: its words, stop words left out."""

    counts: dict[str, int]
    length: int


@dataclass(frozen=True)
class Token:
    """One word of a question. terms: what it may stand as in the index, in each language. frequency: how often it was said."""

    word: str
    terms: frozenset[str]
    frequency: int


def language_of(code: str | None) -> str | None:
    """The language of a BCP 47 code, such as "german" for "de"; None where there are no rules for it."""
    return _BY_CODE.get("no" if code in ("nb", "nn") else code or "")


def analyse(text: str, language: str, *, titles: Sequence[str] = ()) -> Analysed:
    """The terms of a passage. titles: what it stands below; their words count twice. language: a key of LANGUAGES."""
    forms = _analyser(language).forms
    said = Counter(words(text))
    for title in titles:
        for word in words(title):
            said[word] += TITLE_WEIGHT
    counts: Counter[str] = Counter()
    length = 0
    for word, times in said.items():
        if terms := forms(word):
            length += times if word.isascii() or not _is_single_sign(word) else 0
            for term in terms:
                counts[term] += times
    return Analysed(dict(counts), length)


def tokens(question: str, languages: Sequence[str]) -> list[Token]:
    """The words of a question with the terms that each is looked for by, in order of their first appearance.

    languages: those in which passages were analysed. A word that is a stop word in all of them is left out.
    """
    said = Counter(question_words(question))
    found = []
    for word, times in said.items():
        terms = frozenset(term for language in languages for term in _analyser(language).forms(word))
        if terms:
            found.append(Token(word, terms, times))
    return _merged(found)


def words(text: str) -> Iterable[str]:
    """The words of a text in order, lower case, accents kept; of scripts without spaces pairs of signs and single signs."""
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else _words(text)


def _words(text: str) -> Iterable[str]:
    text = _normal(text)
    return _PLAIN_WORD.findall(text) if _PLAIN.fullmatch(text) else _words_of_any_script(text)


def _words_of_any_script(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        if match["word"]:
            yield match["word"][:MAX_WORD_CHARS]
        else:
            signs = _SIGNS.findall(match["signs"])
            yield from signs
            yield from (one + other for one, other in itertools.pairwise(signs))


def question_words(text: str) -> Iterator[str]:
    """The same of a question: single signs only where they stand alone."""
    for match in _WORD.finditer(_normal(text)):
        if match["word"]:
            yield match["word"][:MAX_WORD_CHARS]
        else:
            signs = _SIGNS.findall(match["signs"])
            yield from [one + other for one, other in itertools.pairwise(signs)] or signs


def spans(text: str, terms: Iterable[str], languages: Sequence[str]) -> list[tuple[int, int]]:
    """Where words that stand as one of these terms are in a text: (start, end), in code points, in order, apart."""
    wanted = frozenset(terms)
    found: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        for start, end in _places(match):
            if any(
                form in wanted
                for word in question_words(text[start:end])
                for language in languages
                for form in _analyser(language).forms(word)
            ):
                if found and start <= found[-1][1]:
                    found[-1] = (found[-1][0], max(end, found[-1][1]))
                else:
                    found.append((start, end))
    return found


def _is_single_sign(word: str) -> bool:
    """Whether this is one sign of a script without spaces: it is also part of a pair, and not counted twice."""
    return _SIGNS.fullmatch(word) is not None


def fold(word: str) -> str:
    """A word in lower case without accents."""
    bare = _MARKS.sub("", unicodedata.normalize("NFD", word.translate(_SPELT_OUT)))
    return unicodedata.normalize("NFC", bare)


def _places(match: regex.Match[str]) -> Iterator[tuple[int, int]]:
    """A word, or each sign and each pair of signs, by place."""
    if match["word"]:
        yield match.span()
        return
    signs = [sign.span() for sign in _SIGNS.finditer(match.string, match.start(), match.end())]
    for sign, after in itertools.zip_longest(signs, signs[1:]):
        yield sign
        if after:
            yield sign[0], after[1]


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold() if not text.isascii() else text.lower()


def _merged(found: list[Token]) -> list[Token]:
    """Words with the same terms, as wall and walls, as one."""
    by_terms: dict[frozenset[str], Token] = {}
    for token in found:
        same = by_terms.get(token.terms)
        by_terms[token.terms] = Token(same.word, same.terms, same.frequency + token.frequency) if same else token
    return list(by_terms.values())


class _Analyser:
    """The rules of one language. A Snowball stemmer is not to be called from two threads at once."""

    def __init__(self, language: str) -> None:
        self._prefix = LANGUAGES[language] + ":"
        self._stop_words = STOP_WORDS.get(language, frozenset())
        self._folded_stop_words = frozenset(fold(word) for word in self._stop_words if len(word) > 2)
        self._stemmer = None if language == "simple" else Stemmer.Stemmer(language, 0)
        self._lock = threading.Lock()
        self.forms = functools.lru_cache(maxsize=50_000)(self._forms)

    def _forms(self, word: str) -> tuple[str, ...]:
        """The terms of a word: one; two where accents decide on the stem; none for a stop word."""
        if word in self._stop_words:
            return ()
        folded = fold(word)
        if folded == word:
            return () if word in self._folded_stop_words else (self._prefix + self._stem(word),)
        return tuple(dict.fromkeys((self._prefix + fold(self._stem(word)), self._prefix + self._stem(folded))))

    def _stem(self, word: str) -> str:
        if self._stemmer is None or (not word.isalpha() and not any(map(str.isalpha, word))):
            return word
        with self._lock:
            return str(self._stemmer.stemWord(word)) or word


@functools.cache
def _analyser(language: str) -> _Analyser:
    return _Analyser(language)
