"""Names in texts of many scripts: what is found, what is not, and that every offset is exact."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drystone.mentions import finding, names
from drystone.mentions.finding import Finder, Mention

A, B = UUID(int=1), UUID(int=2)

# Letters that fold, join, expand or stand without spaces; marks; what is invisible; dashes, digits, blanks.
_CHARACTERS = "aAbBeéÉ\u0301\u0308ßſﬁŒİı ΣςσάйЙёеі\u0306東京都ーカｶﾞกรุงเท\u0e38क\u094dषاَأשׁ한²½№℃\u00ad\u200b\u200d\ufeff-–'’.+12 \n\t_"
texts = st.text(st.one_of(st.sampled_from(_CHARACTERS), st.characters(codec="utf-8")), max_size=40)
some_names = st.lists(st.text(st.sampled_from(_CHARACTERS), max_size=6), max_size=8)


def quotes(name: str, text: str) -> list[str]:
    return [text[each.start : each.end] for each in Finder([(A, [name])]).find(text)]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("NO2", "of no2, (NO₂) and NO2-levels", ["no2", "NO₂", "NO2"]),
        ("Nitrogen dioxide", "nitrogen\n  DIOXIDE rose", ["nitrogen\n  DIOXIDE"]),
        ("café", "Cafe, CAFÉ and cafe\u0301s, cafe\u0301", ["Cafe", "CAFÉ", "cafe\u0301"]),
        ("Straße", "STRASSE und Strasse", ["STRASSE", "Strasse"]),
        ("ΌΣΤΡΑΚΟ", "όστρακο οστρακο", ["όστρακο", "οστρακο"]),
        ("ἀνήρ", "ο ανηρ", ["ανηρ"]),
        ("ёлка", "Елка и ЁЛКА", ["Елка", "ЁЛКА"]),
        ("йод", "йод, иод", ["йод"]),
        ("東京", "私は東京都と東\n京で", ["東京", "東\n京"]),
        ("カナダ", "ｶﾅﾀﾞとカナタ", ["ｶﾅﾀﾞ"]),
        ("กรุงเทพ", "ในกรุงเทพมหานคร", ["กรุงเทพ"]),
        ("हिन्दी", "यह हिन्दी है, हिन्दीभाषी", ["हिन्दी"]),
        ("שלום", "אמר שָׁלוֹם היום", ["שָׁלוֹם"]),
        ("مدرسة", "في مَدْرَسَة قديمة", ["مَدْرَسَة"]),
        ("서울", "서울, 서울시", ["서울"]),
        ("Stickstoff", "Stick\u00adstoff, \u200bStickstoff\ufeff.", ["Stick\u00adstoff", "Stickstoff"]),
        ("PM-10", "PM–10 und PM−10, PM-100", ["PM–10", "PM−10"]),
        ("O'Brien", "O’Brien", ["O’Brien"]),
        ("C++", "in C++ and C", ["C++"]),
        ("µg/m³", "12 μg/m3", ["μg/m3"]),
        ("PM2.5", "PM2.5, PM2.55, PM2", ["PM2.5"]),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, text: str, found: list[str]) -> None:
    assert quotes(name, text) == found


@pytest.mark.parametrize(
    ("name", "text"),
    [("air", "airy, fair, air2, a\u0301ir\u0301a"), ("York", "Yorkshire"), ("Nitrogen dioxide", "nitrogen, dioxide")],
)
def test_a_name_does_not_stand_within_words(name: str, text: str) -> None:
    assert quotes(name, text) == []


@pytest.mark.parametrize("name", ["", " ", "C", "水", "é", "e\u0301", "2", "2026", "3.14", "--", "\u00ad", "½", "+1 2"])
def test_what_would_be_found_everywhere_is_looked_for_nowhere(name: str) -> None:
    assert len(Finder([(A, [name])])) == 0


def test_the_longest_of_those_that_begin_first_is_found() -> None:
    finder = Finder([(A, ["New York"]), (B, ["york times", "New York Times", "times square"])])

    found = finder.find("The New York Times, New York, York Times Square")

    assert [(each.start, each.end, each.entity_ids) for each in found] == [
        (4, 18, (B,)),
        (20, 28, (A,)),
        (30, 40, (B,)),
    ]


def test_a_longer_name_that_ends_within_a_word_does_not_hide_a_shorter_one() -> None:
    finder = Finder([(A, ["air"]), (B, ["air qual"])])

    assert finder.find("air quality") == [Mention(0, 3, (A,))]


def test_entities_of_one_name_are_all_mentioned() -> None:
    finder = Finder([(B, ["Mercury"]), (A, ["mercury", "MERCURY"])])

    assert finder.find("Mercury") == [Mention(0, 7, (A, B))]


def test_each_token_has_a_character_of_its_own() -> None:
    assert finding._letter(0) == "\x02"
    assert finding._letter(0xD800 - 2) == "\ue000"
    assert finding._letter(finding.MOST_TOKENS - 1) == chr(0x10FFFF)


@given(text=texts, wanted=some_names)
@example(text="\ufeffﬁ ½", wanted=["fi", "1⁄2a"])
@example(text="\u200b℃", wanted=["\u0301℃"])
@example(text="air \u0301 ℃", wanted=["air ℃"])
def test_every_stretch_that_is_found_says_the_name_and_none_is_passed_over(text: str, wanted: list[str]) -> None:
    finder = Finder([(A, wanted)])

    found = finder.find(text)

    looked_for = {names.folded(each) for each in wanted} - {()}
    said = [names.folded(text[each.start : each.end]) for each in found]
    assert said == _slowly(text, looked_for)
    assert all(one.end <= other.start for one, other in pairwise(found))


@given(text=texts)
def test_a_text_that_is_a_name_is_found_whole(text: str) -> None:
    if names.folded(text):
        (found,) = Finder([(A, [text])]).find(f"( {text} )")
        assert names.folded(f"( {text} )"[found.start : found.end]) == names.folded(text)


@given(text=st.text(st.characters(codec="utf-8", max_codepoint=0x2BFF), max_size=30))
def test_plain_texts_are_cut_as_others_are(text: str) -> None:
    if names._IS_PLAIN.fullmatch(text):
        assert names.cut(text) == names._tokens().findall(text)


def test_every_plain_character_is_cut_as_it_is_elsewhere() -> None:
    every = [chr(code) for code in range(0x2C00) if names._IS_PLAIN.fullmatch(chr(code))]

    assert len(every) > 4000
    for each in every:
        assert names.cut(f"a{each}b") == names._tokens().findall(f"a{each}b"), hex(ord(each))


@given(text=texts)
def test_tokens_are_all_of_a_text_but_its_white_space(text: str) -> None:
    assert "".join("".join(names.cut(text)).split()) == "".join(text.split())


def _slowly(text: str, looked_for: set[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The same without an automaton: at each token the longest name that begins there."""
    tokens = tuple(filter(None, map(names.fold, names.cut(text))))
    found, at = [], 0
    while at < len(tokens):
        here = [name for name in looked_for if tokens[at : at + len(name)] == name]
        if here:
            found.append(max(here, key=len))
        at += len(found[-1]) if here else 1
    return found


def test_names_beyond_what_there_are_letters_for_are_found_by_nobody_and_taken_for_no_other() -> None:
    finder = Finder([(A, ["ozone", "nitrogen dioxide"]), (B, ["sulphur dioxide", "soot", "dust"])], most_tokens=3)

    assert [(each.entity_ids, each.start) for each in finder.find("soot dust sulphur dioxide ozone")] == [((A,), 26)]
