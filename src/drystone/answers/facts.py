"""What a sentence cannot have otherwise than its source: numbers with their units, names, negations, words with an opposite. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import regex

from drystone.index import analysis

_LETTER = r"[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}]"
_GROUPING = r"[.,'’\u00a0\u202f]"
_NUMBER = regex.compile(
    rf"(?<!{_LETTER}|\d)(?P<sign>(?<!\d[ ]?)(?<!\p{{L}})-(?=\d))?"
    rf"(?P<digits>\d{{1,3}}(?: \d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:{_GROUPING}\d+)*)(?:st|nd|rd|th)?(?!\d)"
    rf"(?:\s*(?P<scale>thousand|million|billion|trillion)\b)?"
    rf"[ ]?(?P<unit>%|°\s?[CF]\b|per\s?cent\b|[€$]|(?:{_LETTER}|[µμ]){{1,14}}\b)?",
    regex.IGNORECASE,
)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
# Numbers as words. "one" is none: it is mostly something else.
_NUMBER_WORDS = {
    word: value
    for value, words in {
        2: "two twice zwei deux dos due",
        3: "three thrice drei trois tres tre",
        4: "four vier quatre cuatro quattro",
        5: "five fünf cinq cinco cinque",
        6: "six sechs seis sei",
        7: "seven sieben sept siete sette",
        8: "eight acht huit ocho otto",
        9: "nine neun neuf nueve nove",
        10: "ten zehn dix diez dieci",
        11: "eleven elf onze once undici",
        12: "twelve dozen zwölf dutzend douze doce dodici",
        13: "thirteen dreizehn",
        14: "fourteen vierzehn",
        15: "fifteen fünfzehn quinze quince quindici",
        16: "sixteen sechzehn",
        17: "seventeen siebzehn",
        18: "eighteen achtzehn",
        19: "nineteen neunzehn",
        20: "twenty zwanzig vingt veinte venti",
        30: "thirty dreißig trente treinta trenta",
        40: "forty vierzig quarante cuarenta quaranta",
        50: "fifty fünfzig cinquante cincuenta cinquanta",
        60: "sixty sechzig soixante sesenta sessanta",
        70: "seventy siebzig setenta settanta",
        80: "eighty achtzig ochenta ottanta",
        90: "ninety neunzig noventa novanta",
        100: "hundred hundert cent cien cento",
    }.items()
    for word in words.split()
}  # "once" is eleven in Spanish only
del _NUMBER_WORDS["once"], _NUMBER_WORDS["cent"], _NUMBER_WORDS["sei"], _NUMBER_WORDS["tres"]
# Units that are compared: the same amount of another one is another fact.
_UNITS = {
    unit: names.split()[0]
    for names in (
        "% percent prozent pourcent", "km kilometre kilometres kilometer kilometers", "m metre metres meter meters mètre mètres metro metros", "cm centimetre centimetres centimeter centimeters",
        "mm millimetre millimetres millimeter millimeters", "nm", "µm μm um", "kg kilogram kilograms kilogramm kilo kilos", "gram grams gramm", "mg milligram milligrams", "tonne tonnes tons ton tonnen",
        "litre litres liter liters", "ml", "second seconds sec sekunde sekunden", "ms millisecond milliseconds", "minute minutes minuten", "hour hours hr hrs stunde stunden heures horas",
        "day days tag tage tagen jour jours días", "week weeks woche wochen", "month months monat monate monaten mois meses", "year years jahr jahre jahren ans années años",
        "hz", "khz", "mhz", "ghz", "kw", "mw", "gw", "watt watts w", "volt volts v", "kv", "mv", "ma", "pa", "kpa", "mpa",
        "gpa", "bar", "psi", "kn", "kj", "°c", "°f", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib", "eur € euro euros", "usd $ dollar dollars",
        "ft foot feet", "lb pound pounds", "mile miles mi",
    )
    for unit in names.split()
}  # fmt: skip
_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:[-.&][\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*")
# Of Japanese: what is written in katakana or in two and more Chinese signs is mostly a noun.
_NOUNS = regex.compile(r"[\p{Script=Katakana}ー]{3,}|\p{Script=Han}{2,}")
_KANA = regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}]")
# How common words end that begin a sentence, in English; and nouns, in German, which writes all of them large.
_COMMON_ENDINGS = (
    "s", "ing", "ion", "ly", "ed", "ity", "ness", "ment", "ance", "ence", "er", "or", "ism", "ure", "age", "ture", "ple", "ch",
)  # fmt: skip
_NOUN_ENDINGS = (
    "ung", "heit", "keit", "schaft", "tion", "tät", "en", "er", "e", "n", "em", "es", "ing", "nis", "ismus", "ur", "ik",
    "ie", "el", "eit", "ft", "cht", "st",
)  # fmt: skip

_NEGATIONS = {
    "english": "not no never none nobody nothing neither nor without cannot nt hardly lacks lack lacked fails failed fail unable",
    "german": "nicht kein keine keinen keinem keiner keines nie niemals nichts niemand ohne weder",
    "french": "pas jamais aucun aucune rien sans ni non personne",
    "spanish": "no nunca jamás ningún ninguna ninguno nada nadie sin ni tampoco",
    "italian": "non mai nessun nessuno nessuna niente nulla senza né",
    "portuguese": "não nunca nenhum nenhuma nada ninguém sem nem",
    "dutch": "niet geen nooit niets niemand zonder noch",
    "russian": "не нет ни никогда никто ничего без нельзя",
    "polish": "nie nigdy żaden żadna nic nikt bez ani",
    "swedish": "inte ej aldrig ingen inget inga utan varken",
    "danish": "ikke aldrig ingen intet uden hverken",
    "norwegian": "ikke aldri ingen ingenting uten verken",
    "finnish": "ei eivät en et emme ette älä ilman",
    "turkish": "değil yok hiç asla",
    "greek": "δεν όχι μη μην ποτέ κανένας χωρίς",
    "arabic": "لا ليس لم لن غير بدون",
    "hindi": "नहीं न मत बिना",
}
_SPACELESS_NEGATIONS = regex.compile(r"[不没沒無无未非否]|ない|なく|なかっ|ません|ず[、。にと]|않|없|못|ไม่")
_CONTRACTED = regex.compile(r"n['’]t\b", regex.IGNORECASE)
# How many words behind a negation are what it denies.
_DENIED = 3

_OPPOSITES = [
    tuple(frozenset(side.split()) for side in pair.split("/"))
    for pair in (
        "increase increases increased increasing rise rises rose rising grow grows grew growing/decrease decreases decreased decreasing reduce reduces reduced reducing fall falls fell falling shrink shrinks shrank decline declines declined declining drop drops dropped",
        "more greater larger bigger higher/less fewer smaller lower",
        "above over/below under beneath",
        "before earlier/after later",
        "first/last",
        "maximum most highest largest greatest longest/minimum least lowest smallest shortest",
        "always/never sometimes rarely seldom",
        "all every/some few none",
        "hot hotter warm warmer heated heats/cold colder cool cooler cooled cools",
        "fast faster quick quicker/slow slower",
        "strong stronger/weak weaker",
        "long longer/short shorter",
        "left/right", "north northern/south southern", "east eastern/west western",
        "open opens opened/close closes closed shut",
        "allow allows allowed permits permitted/forbid forbids forbade forbidden prohibits prohibited refuses refused",
        "required requires mandatory/optional",
        "win wins won/lose loses lost",
        "begin begins began start starts started/end ends ended stop stops stopped",
        "positive/negative", "internal inner inside/external outer outside", "thick thicker/thin thinner", "wet/dry",
        "succeed succeeds succeeded/fail fails failed", "gain gains gained/lose loses lost", "buy bought buys/sell sold sells",
        "import imports imported/export exports exported", "true/false", "possible/impossible", "stable/unstable",
        "laminar/turbulent", "subsonic/supersonic hypersonic", "male/female", "birth born/death died", "single/multiple",
        "mehr größer höher/weniger kleiner niedriger", "vor/nach", "über/unter", "immer/nie selten", "steigt stieg wächst/sinkt sank fällt fiel",
        "erlaubt/verboten", "lang länger/kurz kürzer", "warm wärmer heiß/kalt kälter",
    )
]  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A number of a text: what it may mean (1,234 is two), and its unit, if it has one that is compared."""

    shown: str
    values: frozenset[Decimal]
    unit: str | None


def numbers(text: str) -> list[Number]:
    """The numbers of a text, as digits and as words."""
    plain = unicodedata.normalize("NFKC", text).translate(_DIGITS)
    found = []
    for match in _NUMBER.finditer(plain):
        scale = _SCALES.get((match["scale"] or "").lower(), 0)
        sign = -1 if match["sign"] else 1
        values = frozenset(sign * value.scaleb(scale) for value in _values(match["digits"]))
        unit = _unit(match["unit"])
        shown = plain[match.start() : match.end("unit" if unit else "scale" if match["scale"] else "digits")]
        found.append(Number(shown.strip(), values, unit))
    for word in _WORD.findall(plain):
        value = _NUMBER_WORDS.get(word.lower())
        if value is not None:
            found.append(Number(word, frozenset((Decimal(value),)), None))
    return found


_DIGITS = str.maketrans({"−": "-", "٫": ".", "٬": ","})


def _values(digits: str) -> Iterable[Decimal]:
    """What digits with signs between them may mean: of `1.234` a thousand and something, or one and something."""
    parts = regex.split(rf"{_GROUPING}| ", digits)
    signs = regex.findall(rf"{_GROUPING}| ", digits)
    choices = set()
    if all(len(part) == 3 for part in parts[1:]) and len(parts[0]) <= 3:
        choices.add("".join(parts))
    if signs and signs[-1] in ".," and (len(signs) == 1 or set(signs[:-1]) != {signs[-1]}):
        choices.add("".join(parts[:-1]) + "." + parts[-1])
    if not choices:  # a version, a date, an address: each part by itself
        choices = set(parts)
    for each in choices:
        try:
            yield Decimal(each).normalize()
        except InvalidOperation:
            continue


def _unit(text: str | None) -> str | None:
    plain = "".join((text or "").lower().split()).replace("percent", "%").replace("per cent", "%")
    return _UNITS.get(plain)


def missing_numbers(sentence: str, source: str) -> list[str]:
    """Numbers of the sentence that the source does not have, or has with another unit."""
    there = [
        *numbers(source),
        *numbers(regex.sub(r"(?<=\d) (?=\d)", "\n", source)),
    ]  # "2 460" may be one number, and two
    return [each.shown for each in numbers(sentence) if not any(_is_same(each, other) for other in there)]


def _is_same(one: Number, other: Number) -> bool:
    return bool(one.values & other.values) and (one.unit is None or other.unit is None or one.unit == other.unit)


def missing_names(sentence: str, source: str, languages: Sequence[str]) -> list[str]:
    """Names of the sentence that do not stand in the source: words with capitals or digits, and nouns of Japanese."""
    there = _known(source, languages)
    endings = _COMMON_ENDINGS if "german" not in languages else _NOUN_ENDINGS
    words = list(_WORD.finditer(sentence))
    is_shouted = sum(each[0].isupper() for each in words) > len(words) / 2
    found = []
    for place, match in enumerate(words):
        word = match[0]
        if any(part in there for part in _forms(word, languages)) or word.isdecimal():
            continue
        has_digits = any(map(str.isdecimal, word)) and any(map(str.isalpha, word))
        if has_digits and regex.fullmatch(r"\d+(?:st|nd|rd|th|\p{L}{1,3})", word, regex.IGNORECASE):
            continue  # a number with its unit or ending
        is_name = has_digits or any(map(str.isupper, word[1:])) or (word[0].isupper() and len(word) > 1)
        if not is_name or is_shouted or not _terms(word, languages):
            continue
        is_plain = not has_digits and not any(map(str.isupper, word[1:]))
        if is_plain and (_begins(sentence, match) or "german" in languages):
            is_followed = place + 1 < len(words) and words[place + 1][0][0].isupper() and "german" not in languages
            if not is_followed and word.lower().endswith(endings):
                continue
        found.append(word)
    folded = source.casefold()
    nouns = _NOUNS.findall(sentence) if _KANA.search(sentence) else []
    return found + [word for word in nouns if word not in folded]


def _begins(sentence: str, match: regex.Match[str]) -> bool:
    """Whether the word begins the sentence, or what stands behind a colon or a quotation mark."""
    before = sentence[: match.start()].rstrip()
    return not before or before[-1] in ":.!?;\"“„«'‘(•-–"


def _known(source: str, languages: Sequence[str]) -> set[str]:
    return {form for match in _WORD.finditer(source) for form in _forms(match[0], languages)}


def _forms(word: str, languages: Sequence[str]) -> set[str]:
    """The word folded and as it stands in an index, and its parts where it is joined."""
    parts = {word, *regex.split(r"[-.&]", word)} if len(word) > 2 else {word}
    whole = {analysis.fold(word.casefold())}
    return whole | _terms(word, languages) if len(parts) == 1 else whole | _terms(word.replace("-", ""), languages)


def _terms(word: str, languages: Sequence[str]) -> set[str]:
    return {term for token in analysis.tokens(word, languages) for term in token.terms}


def is_denied_otherwise(sentence: str, sources: Sequence[str], languages: Sequence[str]) -> bool:
    """Whether one of sentence and source denies what the other says.

    Compared with that part of the source that has most of the sentence's words. A negation counts where what it denies, the
    words behind it, is in the other as well.
    """
    nearest = max(
        sources, key=lambda each: len(_all_terms(each, languages) & _all_terms(sentence, languages)), default=""
    )
    return _denies(sentence, nearest, languages) or _denies(nearest, sentence, languages)


def _denies(one: str, other: str, languages: Sequence[str]) -> bool:
    """Whether `one` denies something that `other` says without any negation near it."""
    if bool(_SPACELESS_NEGATIONS.search(one)) and not _SPACELESS_NEGATIONS.search(other):
        return True
    theirs = _all_terms(other, languages)
    denied_there = [_denied(words, languages) for words in _behind_negations(other, languages)]
    for behind in _behind_negations(one, languages):
        meant = _denied(behind, languages)
        if 2 * len(meant & theirs) >= len(meant) and not any(meant & there for there in denied_there):
            return True
    return False


def _behind_negations(text: str, languages: Sequence[str]) -> list[list[str]]:
    """For each negation the words behind it, up to the next comma or stop."""
    signs = negations(languages)
    found = []
    for clause in _PAUSE.split(_CONTRACTED.sub(" not", text)):
        words = [analysis.fold(word.casefold()) for word in _WORD.findall(clause)]
        found += [words[place + 1 :] for place, word in enumerate(words) if word in signs]
    return found


def _denied(words: Sequence[str], languages: Sequence[str]) -> set[str]:
    """The terms of the first few words that have any."""
    found: set[str] = set()
    count = 0
    for word in words:
        if terms := _terms(word, languages):
            found |= terms
            count += 1
        if count == _DENIED:
            break
    return found


def negations(languages: Sequence[str]) -> frozenset[str]:
    """Words that deny, folded."""
    chosen = [each for each in languages if each in _NEGATIONS] or ["english"]
    return frozenset(analysis.fold(word) for each in chosen for word in _NEGATIONS[each].split())


def _all_terms(text: str, languages: Sequence[str]) -> set[str]:
    return {term for token in analysis.tokens(text, languages) for term in token.terms}


def turned_words(sentence: str, source: str, languages: Sequence[str]) -> list[str]:
    """Words of the sentence of which the source, or the part of it that is nearest, has an opposite and no word like them."""
    mine = _all_terms(sentence, languages)
    nearest = max(_CLAUSE.split(source), key=lambda each: len(_all_terms(each, languages) & mine))
    return sorted({*_turned(sentence, source), *_turned(sentence, nearest)})


_PAUSE = regex.compile(r"[,;:.!?()\n](?:\s|$)")
_CLAUSE = regex.compile(r"[,;:.!?\n]\s|\b(?:while|whereas|but|and|während|aber|und|mais|pero|et|y)\b")


def _turned(sentence: str, source: str) -> list[str]:
    said, there = _lower(sentence), _lower(source)
    found: list[str] = []
    for one, other in _OPPOSITES:
        for mine, turned in ((one, other), (other, one)):
            if said & mine and not there & mine and there & turned and not said & turned:
                found += sorted(said & mine)
    return found


def _lower(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}
