"""What a text is found by: words of many scripts, folded, stemmed, without stop words."""

from __future__ import annotations

import random
import unicodedata

import pytest

from drystone.index import analysis
from drystone.index.stopwords import STOP_WORDS


def _finds(question: str, text: str, language: str) -> bool:
    """Whether every word of the question stands in the text."""
    held = analysis.analyse(text, language).counts
    asked = analysis.tokens(question, [language])
    return bool(asked) and all(token.terms & held.keys() for token in asked)


@pytest.mark.parametrize(
    ("language", "text", "finds", "misses"),
    [
        (
            "english",
            "The walls were built by masons who ran their quarries.",
            ["wall", "MASON", "the quarry"],
            ["hall"],
        ),
        ("german", "Die Mauern der Häuser wurden größer.", ["mauer", "haus", "HAUSER", "großes"], ["die", "maus"]),
        (
            "french",
            "Les façades préservées de l'hôtel étaient réparées.",
            ["facade", "hotel", "réparée"],
            ["les", "hot"],
        ),
        (
            "russian",
            "Высокие стены домов были построены из камня.",
            ["стена", "дом", "камни", "ВЫСОКАЯ"],
            ["были", "дым"],
        ),
        ("greek", "Οι τοίχοι του σπιτιού είναι από πέτρα.", ["τοιχος", "πέτρα", "ΠΕΤΡΑ"], ["του"]),
        ("arabic", "الكتاب القديم في المَدِينَة الكبيرة", ["كتاب", "قديم", "المدينة"], ["في"]),
        ("simple", "הקירות בנויים מאבן שָׁלוֹם", ["הקירות", "שלום", "מאבן"], ["אבנים"]),
        ("hindi", "पत्थर की दीवारें बहुत पुरानी हैं", ["दीवार", "पत्थर"], ["की"]),
        ("simple", "東京の古い石垣は美しい。", ["石垣", "東京", "美しい", "古い石垣", "石"], ["京都", "石東"]),
        ("simple", "长城是用石头建造的。", ["石头", "长城", "城"], ["木头"]),
        ("simple", "กำแพงหินเก่าแก่ของเมือง", ["กำแพง", "หิน", "เมือง"], ["ไม้"]),
        ("simple", "오래된 돌담은 아름답다", ["돌담", "오래된"], ["나무"]),
        ("simple", "ကျောက်တံတိုင်း", ["ကျောက်"], ["သစ်"]),
        ("turkish", "Taş duvarların yapımı", ["duvar", "taş", "tas"], ["ağaç"]),
        ("polish", "Kamienne ściany są zbudowane", ["ściana", "sciany"], ["są"]),
        ("tamil", "கற்சுவர்கள் பழமையானவை", ["கற்சுவர்"], ["மரம்"]),
    ],
)
def test_sentences_are_found_by_their_words(language: str, text: str, finds: list[str], misses: list[str]) -> None:
    assert [question for question in finds if not _finds(question, text, language)] == []
    assert [question for question in misses if _finds(question, text, language)] == []


def test_the_length_counts_each_word_once_and_no_stop_word() -> None:
    assert analysis.analyse("The wall and the walls of précisée", "english").length == 3
    assert analysis.analyse("石垣は", "simple").length == 2  # pairs; single signs are for questions of one sign
    assert analysis.analyse("石", "simple").length == 0
    assert analysis.analyse("!? …", "english") == analysis.Analysed({}, 0)


def test_a_word_asked_in_several_languages_is_one_word_with_several_terms() -> None:
    (token,) = analysis.tokens("running running", ["english", "german"])

    assert (token.terms, token.frequency) == (frozenset({"en:run", "de:running"}), 2)
    assert [t.terms for t in analysis.tokens("die", ["english", "german"])] == [frozenset({"en:die"})]
    assert analysis.tokens("the of and", ["english"]) == []


def test_words_with_the_same_stem_are_asked_once() -> None:
    (token,) = analysis.tokens("wall walls WALLS", ["english"])

    assert token.frequency == 3


def test_a_very_long_word_is_known_by_its_beginning() -> None:
    assert list(analysis.words("x" * 5000 + " y")) == ["x" * 64, "y"]
    assert list(analysis.words("é" * 5000 + " y")) == ["é" * 64, "y"]


def test_the_quick_ways_cut_as_the_slow_one_does() -> None:
    chance = random.Random(1)
    signs = [chr(code) for code in range(0x20, 0x3000) if unicodedata.category(chr(code))[0] != "C"]
    for _ in range(3000):
        text = "".join(chance.choices(signs[: chance.choice([95, 600, len(signs)])], k=12))
        normal = unicodedata.normalize("NFKC", text).casefold()
        assert list(analysis.words(text)) == list(analysis._words_of_any_script(normal)), repr(text)


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        ("The Walls of walled towns", "wall", ["Walls", "walled"]),
        ("HÄUSER und haus", "hauser", ["HÄUSER", "haus"]),
        ("東京都の石垣", "京都", ["京都"]),
        ("東京都の石垣", "東京都", ["東京都"]),
        ("ﬁne ﬁle", "file", ["ﬁle"]),
        ("nothing here", "wall", []),
    ],
)
def test_spans_are_slices_of_the_text(text: str, question: str, expected: list[str]) -> None:
    languages = ["english", "german"]
    terms = {term for token in analysis.tokens(question, languages) for term in token.terms}

    assert [text[start:end] for start, end in analysis.spans(text, terms, languages)] == expected


def test_every_language_has_a_stemmer_and_every_list_of_stop_words_a_language() -> None:
    for language in analysis.LANGUAGES:
        assert analysis.analyse("stone 石", language).length >= 1, language
    assert STOP_WORDS.keys() <= analysis.LANGUAGES.keys()
    assert len(set(analysis.LANGUAGES.values())) == len(analysis.LANGUAGES)


def test_a_code_names_its_language() -> None:
    assert [analysis.language_of(code) for code in ("de", "nb", "nn", "ja", None)] == [
        "german",
        "norwegian",
        "norwegian",
        None,
        None,
    ]


def test_the_words_of_titles_count_twice() -> None:
    found = analysis.analyse("stone wall", "english", titles=["Walls", "Of moss"])

    assert found == analysis.Analysed({"en:stone": 1, "en:wall": 3, "en:moss": 2}, 6)
