"""Markdown and HTML."""

from __future__ import annotations

import contextlib
import time

import pytest

from drystone.adapters.parsing import Parsed, read_html, read_markdown, read_text
from drystone.core.errors import Invalid


def _html(source: str | bytes) -> Parsed:
    return read_html.read(source if isinstance(source, bytes) else source.encode(), 1_000_000)


def _markdown(source: str) -> Parsed:
    return read_markdown.read(source.encode(), 1_000_000)


def _headings(parsed: Parsed) -> list[tuple[int, str]]:
    for heading in parsed.headings:
        assert parsed.text[heading.start : heading.end].strip("# =\n*[").startswith(heading.title[:3])
    return [(heading.level, heading.title) for heading in parsed.headings]


def test_plain_text_is_itself() -> None:
    parsed = read_text.read("\ufeff one\r\n  two  \r\n\r\n\r\n\r\n\r\nthree".encode(), 1_000)

    assert parsed.text == " one\n  two\n\n\nthree"
    assert parsed.headings == ()
    assert parsed.page_starts == ()


def test_markdown_keeps_its_source_and_finds_headings_that_are_some() -> None:
    source = "# The *Wall*\n\ntext `#x`\n\n```\n# no heading\n```\n\nUnder\n=====\n\n## [Link](http://a.b) {#id}\n\n> # quoted\n"

    parsed = _markdown(source)

    assert parsed.text == source.rstrip()
    assert _headings(parsed) == [(1, "The Wall"), (1, "Under"), (2, "Link")]
    assert parsed.text[parsed.headings[1].start : parsed.headings[1].end] == "Under\n====="
    assert parsed.title == "The Wall"


def test_front_matter_gives_the_title_and_is_no_text() -> None:
    parsed = _markdown('---\ntitle: "A wall"\ntags: [x]\n---\n\n# First\n\nwords\n')

    assert parsed.text == "# First\n\nwords"
    assert parsed.title == "A wall"
    assert parsed.headings[0].start == 0


def test_long_markdown_still_has_its_headings() -> None:
    parsed = _markdown("# Top\n\n" + "word " * 110_000 + "\n\n~~~\n# no\n~~~\n\n### Deep ###\n\nend")

    assert _headings(parsed) == [(1, "Top"), (3, "Deep")]


def test_html_gives_what_a_reader_sees() -> None:
    parsed = _html(
        "<html><head><title>The&nbsp;Wall</title><style>p{}</style></head><body><nav>Home | About</nav>"
        "<script>var x = '<p>no</p>'</script><h1>Dry <em>stone</em></h1><p>One   two<br>three <b>bo</b>ld H<sub>2</sub>O"
        "<!-- no --></p><div>Four<p>five</p>six</div><p hidden>no</p><p style='color:red; display: none'>no</p>"
        "<template>no</template><noscript>no</noscript></body></html>"
    )

    assert parsed.text == "Dry stone\n\nOne two\nthree bold H2O\n\nFour\n\nfive\n\nsix"
    assert parsed.title == "The Wall"
    assert _headings(parsed) == [(1, "Dry stone")]


def test_html_lists_are_lines_and_code_keeps_its_lines() -> None:
    parsed = _html("<p>a</p><ul><li>one<li>two<ol><li>x<li>y</ol></ul><p>b</p><pre>if a:\n    b = 1\n</pre>")

    assert parsed.text == "a\n\n- one\n- two\n1. x\n2. y\n\nb\n\nif a:\n    b = 1"


def test_html_tables_of_data_are_rows_and_tables_for_layout_are_not() -> None:
    data = _html(
        "<table><caption>Heights</caption><tr><th>Wall</th><th>cm</th></tr><tr><td>North</td><td>120</td></tr></table>"
        "<table><tr><th>Stone</th><td>gneiss, schist</td></tr></table>"
    )
    layout = _html(
        "<table><tr><td><h2>Left</h2><p>one</p></td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr>"
    )

    assert data.text == "Heights\nWall: North | cm: 120\n\nStone: gneiss, schist"
    assert layout.text == "Left\n\none\n\na | b"


def test_only_the_surroundings_of_a_marked_content_are_noise() -> None:
    with_main = _html("<header>site</header><main><header><h1>T</h1></header><p>x</p></main><footer>©</footer>")
    without = _html("<header><h1>T</h1></header><p>x</p><footer>signed, the mason</footer>")
    only_navigation = _html("<nav><a href=/>Home</a></nav>")

    assert with_main.text == "T\n\nx"
    assert without.text == "T\n\nx\n\nsigned, the mason"
    assert only_navigation.text == "Home"


def test_xhtml_elements_that_end_in_their_tag_swallow_nothing() -> None:
    parsed = _html(
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><script src="a.js"/><title>T</title>'
        "</head><body><p>one</p><div/><p>two</p></body></html>"
    )

    assert parsed.text == "one\n\ntwo"
    assert parsed.title == "T"


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("Shift_JIS", "cp932"), ("windows-1251", "cp1251"), ("utf-8", "utf-8"), ("wrong", "cp932"), ("x", "utf-16")],
)
def test_html_is_decoded_by_its_meta_or_by_what_it_is(declared: str, encoding: str) -> None:
    words = "吾輩は猫である。名前はまだ無い。" if encoding != "cp1251" else "Все люди рождаются свободными."

    parsed = _html(f'<meta charset="{declared}"><p>{words}</p>'.encode(encoding))

    assert parsed.text == words


@pytest.mark.parametrize("source", ["<div>" * 300_000 + "x", "<b><i>" * 150_000, "<div></b>" * 300_000 + "x"])
def test_deep_nesting_is_refused_before_it_burns(source: str) -> None:
    started = time.process_time()

    with pytest.raises(Invalid) as caught:
        _html(source)

    assert caught.value.code == "document.too_nested"
    assert time.process_time() - started < 5


def test_many_unclosed_paragraphs_and_items_are_not_deep() -> None:
    parsed = _html("<ul>" + "<li>a<p>b" * 6_000 + "</ul>")

    assert parsed.text.startswith("- a\n")


@pytest.mark.parametrize("source", ["<" * 1_000_000, "<!--" * 300_000, "<a " * 300_000 + "x", "<script>" * 200_000])
def test_broken_markup_takes_no_more_than_linear_time(source: str) -> None:
    started = time.process_time()

    with contextlib.suppress(Invalid):
        read_html.read(f"{source} word".encode(), 10_000_000)

    assert time.process_time() - started < 5


def test_without_a_title_the_first_heading_of_the_top_level_is_it() -> None:
    assert _markdown("### Deep\n\n## Walls\n\ntext\n\n## Moss").title == "Walls"
    assert _html("<title>Untitled Document</title><h2>Walls</h2><p>text</p><h3>Moss</h3>").title == "Walls"
    assert _html("<p>text</p>").title is None


def test_the_declared_language_of_a_page_is_told() -> None:
    assert _html('<html lang="nl-BE"><p>De imker</p>').language == "nl-BE"
    assert _html("<p>De imker</p>").language is None
