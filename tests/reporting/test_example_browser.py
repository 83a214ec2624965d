import pandas as pd

from persuasion_lib.reporting import browse
from worlds.synthetic_evaluation import evaluated, from_elsewhere, make_evaluation


def test_the_explorer_finds_disagreement_and_escapes_every_text():
    evaluation = make_evaluation(12, unscored=1)
    evaluation["per_example"][0]["responses"]["sft"] = "<img src=x onerror=alert(1)>"
    data = evaluated(evaluation)
    table = browse.example_table(data)
    assert table.loc["e00011", "unread"] == 2 and pd.isna(table.loc["e00011", "lead"])
    changed_mind = browse.FILTERS["judge changed its mind most"](table)
    assert changed_mind["order_changed"].is_monotonic_decreasing and len(changed_mind) < 12
    page = browse.example_view(data, "e00000").data
    assert "&lt;img" in page and "<img" not in page
    assert "rank, order 2" in page and "similarity to oracle" in page
    assert "unread" in browse.example_view(data, "e00011").data
    theirs = evaluated(from_elsewhere(make_evaluation(2)))
    assert "place" not in browse.example_view(theirs, "1").data


def test_headless_the_explorer_is_text_and_interactive_it_turns_pages(monkeypatch):
    data = evaluated(make_evaluation(5))
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    assert "e00000" in browse.browser(data).data
    monkeypatch.delenv("PERSUASION_BATCH")
    bar, page = browse.browser(data).children
    bar.children[1].value = 3
    assert "e00003" in page.value
