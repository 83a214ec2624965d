import pandas as pd

from persuasion_lib.core.show import TextTable

LONG = "word " * 40


def test_a_long_text_is_shown_whole():
    assert LONG.strip() in TextTable(pd.DataFrame({"text": [LONG]}))._repr_html_()
    assert LONG.strip() in repr(TextTable(pd.DataFrame({"text": [LONG]})))


def test_a_text_cannot_become_markup():
    html = TextTable(pd.DataFrame({"<b>": ["<script>x</script><img src=x onerror=y>"]}))
    assert "<script>" not in html._repr_html_() and "<img" not in html._repr_html_()
    assert "&lt;script&gt;" in html._repr_html_()


def test_line_breaks_stay():
    assert "one<br>two" in TextTable(pd.DataFrame({"text": ["one\ntwo"]}))._repr_html_()


def test_a_long_link_may_break_and_loses_nothing():
    html = TextTable(pd.DataFrame({"text": ["https://" + "x" * 60]}))._repr_html_()
    assert "\u200b" in html and "https://" + "x" * 60 in html.replace("\u200b", "")
