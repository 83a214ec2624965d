"""Labelling by key in a real JupyterLab: what a key does, and what it must never do."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from persuasion_lib.core.records import pair_row
from worlds.labeling_pool import make_pairs

pytestmark = pytest.mark.browser
POOL = [pair_row(pair) for pair in make_pairs(40)]


def test_keys_label_straight_after_run_all_and_buttons_do_the_same(desk):
    desk = desk(POOL)
    desk.run_all()
    for key in ("1", "2", "3", "s", "Backspace"):
        desk.press(key)
    assert desk.choices() == ["first", "second", "tie", "skip"]
    assert desk.events()[-1]["event"] == "undo"
    desk.page.wait_for_timeout(160)
    desk.page.get_by_role("button", name="Second better").click()
    desk.wait_status("Saved: second better")
    desk.press("1")     # the keyboard still works after a click
    assert desk.choices()[-2:] == ["second", "first"]


def test_no_key_of_command_mode_changes_a_cell_and_ctrl_s_still_saves(desk):
    desk = desk(POOL)
    desk.run_all()
    bound = desk.page.evaluate(
        "jupyterapp.commands.keyBindings.map(b => b.keys)"
        ".filter(keys => !keys.some(key => /Ctrl|Alt|Accel|Cmd/.test(key)))")
    assert ["X"] in bound and ["D", "D"] in bound and ["0", "0"] in bound and len(bound) > 30
    before = desk.cells()
    for keys in bound:
        for key in keys:
            desk.page.keyboard.press(key.replace(" ", "+"))
        desk.page.keyboard.press("Escape")      # closes the note, which N opens
    desk.page.wait_for_timeout(500)
    assert desk.cells() == before
    assert desk.page.locator(".jp-Dialog").count() == 0
    assert desk.page.locator(".plab.plab-on").count() == 1
    desk.page.keyboard.press("Control+s")
    desk.page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")
    saved = json.loads(desk.file.read_text())
    assert saved["cells"][3]["execution_count"] and "widgets" not in saved["metadata"]
    # The same key does change the notebook from outside, so the above is not vacuous.
    desk.page.locator(".jp-MarkdownCell").first.click()
    desk.page.keyboard.press("b")
    assert len(desk.cells()) == len(before) + 1


def test_a_skipped_pair_comes_back_and_the_end_says_what_was_done(desk):
    desk = desk(POOL[:4])
    desk.run_all()
    skipped = desk.page.locator(".plab-first .plab-text").inner_text()
    for key in "s123":
        desk.press(key)
    assert desk.page.locator(".plab-first .plab-text").inner_text() == skipped
    desk.press("1")
    end = desk.page.locator(".plab-end").inner_text()
    assert "All answered" in end and "pairs with a label: 4 of 4" in end
    assert desk.page.get_by_role("button", name="First better").count() == 0
    desk.press("u")
    assert desk.page.locator(".plab-first .plab-text").inner_text() == skipped


def test_double_presses_bursts_and_auto_repeat_label_one_pair(desk):
    desk = desk(POOL)
    desk.run_all()
    for _ in range(10):     # without an `up` in between the browser marks them as repeats
        desk.page.keyboard.down("1")
    desk.page.keyboard.up("1")
    desk.wait_status("Saved")
    assert len(desk.choices()) == 1
    desk.page.wait_for_timeout(300)
    desk.page.evaluate(
        "for (let i = 0; i < 10; i++) document.querySelector('.plab').dispatchEvent("
        "new KeyboardEvent('keydown', {key: '2', bubbles: true}))")
    desk.page.wait_for_timeout(500)
    assert desk.choices() == ["first", "second"]


def test_flag_note_review_and_guidelines_by_key(desk):
    desk = desk(POOL)
    desk.run_all()
    desk.press("f")
    desk.page.keyboard.press("n")
    desk.page.keyboard.type("x1 odd, see 2")        # in the note, keys are text
    desk.page.get_by_role("button", name="Tie").click()
    desk.wait_status("The note is not saved yet")
    desk.page.get_by_role("textbox", name="Note on this pair").press("Enter")
    desk.wait_status("Saved: flagged, with a note")
    desk.press("3")
    flag = [event for event in desk.events() if event["event"] == "flag"][-1]
    assert (flag["flagged"], flag["note"]) == (True, "x1 odd, see 2")
    assert desk.choices() == ["tie"]
    desk.press("r")
    desk.page.locator(".plab-card button", has_text="tie").click()
    desk.wait_status("Answer this one again")
    desk.press("1")
    assert desk.choices() == ["tie", "first"]
    assert desk.events()[-1]["key"] == flag["key"]
    guide = desk.page.locator(".plab-guide")
    assert not guide.is_visible()
    desk.press("?")
    assert guide.is_visible()


def test_a_break_is_suggested_and_eats_no_key(desk):
    desk = desk(POOL, "label_human.break_every=3")
    desk.run_all()
    for key in "111":
        desk.press(key)
    card = desk.page.locator(".plab-pause")
    assert "3 answers in this sitting" in card.inner_text()
    desk.press("2")
    assert not card.is_visible() and len(desk.choices()) == 4


def test_focus_is_always_shown_roles_have_names_and_nothing_is_a_trap(desk):
    desk = desk(POOL)
    desk.run_all()
    desk.page.locator(".jp-MarkdownCell").first.click()
    # `expect` waits: JupyterLab lays the page out again after a click.
    expect(desk.page.locator(".plab-focus")).to_have_text("Keyboard is off: click here")
    desk.page.locator(".plab-second .plab-text").click()
    expect(desk.page.locator(".plab-focus")).to_have_text("Keyboard is on")
    desk.press("1")
    assert len(desk.choices()) == 1
    tree = desk.page.locator(".plab").aria_snapshot()
    for part in ('region "Pair labelling"', "status", 'progressbar "Answered"',
                 'article "Conversation"', 'article "First response"', 'article "Second response"',
                 'button "First better"', 'button "Second better"', 'button "Tie"',
                 'button "Skip"', 'button "Undo"', 'button "Quit"'):
        assert part in tree, part
    for _ in range(40):     # no trap: Tab walks through and out
        desk.page.keyboard.press("Tab")
        if not desk.page.locator(".plab.plab-on").count():
            break
    assert desk.page.locator(".plab.plab-on").count() == 0
