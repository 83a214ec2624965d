"""What the widget shows and what its keys do, on a page without a notebook."""

from __future__ import annotations

import pytest

from persuasion_lib.core.records import Pair
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.votes import Form
from persuasion_lib.labeling.widget import LabelWidget
from worlds.bare_page import press, show
from worlds.labeling_pool import make_pairs

pytestmark = pytest.mark.browser
LONG = " ".join(["Dogs guard the house and like to walk."] * 80)
TALK = [{"role": role, "content": f"{role} {LONG}"} for role in ("user", "assistant", "user")]
FORM = Form(both_bad=True, strength=True, reasons=("better evidence", "kinder tone"))


def labelling(texts, form=FORM):
    """A widget on pairs of these texts, and the events that it saves."""
    prompts = [make_pairs(1)[0].prompt, TALK]
    pairs = [Pair(f"p{at}", prompts[at % 2], *both) for at, both in enumerate(texts)]
    items = showings(pairs, seed=0, annotator="me", repeat_fraction=0, checks=0)
    events = []
    session = Session(items, [], events.append, annotator="me", guidelines="**Which?** Judge.")
    return LabelWidget(session, break_every=99, form=form), events


@pytest.mark.parametrize(("width", "height"), [(1366, 680), (340, 760)])
def test_buttons_and_question_stay_where_they_are_whatever_the_pair(browser, width, height):
    texts = [("Short.", "Brief."), (LONG, "Short."), (LONG, f"{LONG} Indeed."), ("A.", LONG)]
    page = show(browser, labelling(texts)[0], width=width, height=height)
    places = []
    for _ in texts:
        boxes = [page.locator(part).bounding_box() for part in (
            "button[data-key='1']", "button[data-key='s']", "button[data-key='u']",
            ".plab-question", ".plab-answered", ".plab-first .plab-text")]
        assert all(0 < box["y"] < height for box in boxes)
        places.append([box["y"] for box in boxes[:3]])
        assert page.locator(".plab-answered").is_visible()
        press(page, "3")
    assert places.count(places[0]) == len(texts)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_message_that_is_answered_stays_in_view_while_the_rest_scrolls(browser):
    page = show(browser, labelling([(LONG, "One."), (LONG, "Two.")])[0], width=340, height=620)
    page.locator(".plab-body").evaluate("node => node.scrollTop = 99999")      # guidelines are open
    answered, body = (page.locator(part).bounding_box() for part in (".plab-prompt", ".plab-body"))
    assert abs(answered["y"] - body["y"]) < 2
    assert page.locator(".plab-question").bounding_box()["y"] < body["y"]
    page.close()


def test_reasons_strength_difference_and_flagged_pairs_by_key(browser):
    widget, events = labelling([(f"{LONG} One {at}.", f"{LONG} Two {at}.") for at in range(6)])
    page = show(browser, widget)
    press(page, "d")
    marked = page.locator(".plab-pair mark").all_inner_texts()
    assert set(marked) == {"One", "Two"}
    for key in ("8", "b", "f", "1"):
        press(page, key)
    choice = events[-1]
    assert choice["more"] == {"strength": "clearly", "reasons": ["kinder tone"]}
    press(page, "4")
    assert events[-1]["choice"] == "both_bad" and "more" not in events[-1]
    press(page, "w")
    page.locator(".plab-review button", has_text="first better").press("Enter")
    page.locator(".plab-status", has_text="Answer this one again").wait_for()
    press(page, "f")
    press(page, "2")
    assert events[-1]["key"] == choice["key"]
    assert "Nothing is flagged" in page.locator(".plab-review").inner_text()
    press(page, "Escape")
    assert not page.locator(".plab-review").is_visible()
    page.close()


def test_a_difference_of_texts_with_markup_runs_nothing(browser):
    evil = "<img src=x onerror='window.hit=1'>"
    page = show(browser, labelling([(f"{LONG} {evil}", f"{LONG} <b>bold</b>")])[0])
    press(page, "d")
    assert page.locator(".plab-pair :is(img, b)").count() == 0
    assert "<img" in page.locator(".plab-pair").inner_text()
    assert page.evaluate("window.hit") is None
    page.close()
