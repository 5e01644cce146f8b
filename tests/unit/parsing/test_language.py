"""In which language a text is: the first article of the Universal Declaration of Human Rights, in many."""

from __future__ import annotations

import time

import pytest

from drystone.adapters.parsing import language

_SAMPLES = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di coscienza.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de consciência.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en geweten.",
    "sv": "Alla människor är födda fria och lika i värde och rättigheter. De har utrustats med förnuft och samvete.",
    "fi": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja omatunto.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem.",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím.",
    "hu": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek ésszel bírnak.",
    "ro": "Toate ființele umane se nasc libere și egale în demnitate și în drepturi. Ele sunt înzestrate cu rațiune.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом і совістю.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}

pytestmark = pytest.mark.skipif(not language.is_available(), reason="the detector has no wheel for this machine")


@pytest.mark.parametrize("tag", list(_SAMPLES))
def test_a_sentence_or_two_tell_the_language(tag: str) -> None:
    assert language.detect(_SAMPLES[tag]) == tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4711 0815",
        "x",
        "hello",
        "Hello world",
        "Invoice 4711 for Acme",
        "def f(x): return x + 1",
        _SAMPLES["de"] + " " + _SAMPLES["ja"] + _SAMPLES["ru"],
    ],
)
def test_nothing_is_said_of_what_is_no_language_or_several(text: str) -> None:
    assert language.detect(text) is None


def test_long_texts_are_judged_by_samples() -> None:
    text = (_SAMPLES["de"] + "\n") * 50_000
    language.detect(text)
    started = time.process_time()

    assert language.detect(text) == "de"
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("nl", "nl"),
        ("nl-BE", "nl"),
        ("pt_BR", "pt"),
        ("EN-us", "en"),
        ("iw", "he"),
        (" de ", "de"),
        ("zh-Hans-CN", "zh"),
    ],
)
def test_a_declared_tag_names_its_language(tag: str, code: str) -> None:
    assert language.declared(tag) == code


@pytest.mark.parametrize("tag", [None, "", "und", "x-klingon", "english", "{{ lang }}", "nl, en"])
def test_a_tag_that_is_none_names_nothing(tag: str | None) -> None:
    assert language.declared(tag) is None
