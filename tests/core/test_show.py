import pandas as pd

from persuasion_lib.core.family import MODELS
from persuasion_lib.core.show import Plot, TextTable, look

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


def test_a_model_looks_the_same_in_every_figure_and_unlike_any_other():
    looks = [look(model) for model in MODELS]
    assert look("rlaif", ["rlaif", "rlhf"]) == looks[3]
    for what in ("color", "marker", "linestyle"):
        assert len({str(one[what]) for one in looks}) == len(MODELS)


def test_a_model_from_elsewhere_comes_after_the_known_ones():
    assert look("theirs", ["theirs", "sft"])["color"] not in {look(m)["color"] for m in MODELS}


def test_a_name_with_dollars_is_a_name_in_every_kind_of_file():
    figure = Plot(figsize=(2, 2))
    axes = figure.subplots()
    axes.bar([r"$\frac$", "a$b$"], [1, 2], label=r"$\nonsense{")
    axes.set_title(r"$\frac$ against $x$")
    axes.legend()
    assert figure.written("png").startswith(b"\x89PNG")
    assert rb"$\frac$ against $x$" in figure.written("svg")
