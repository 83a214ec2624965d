"""What goes wrong in mid-session: nothing is lost, and the screen says what is true."""

from __future__ import annotations

import shutil
import time

import pytest

from persuasion_lib.core.records import pair_row
from worlds.labeling_pool import make_pairs

pytestmark = pytest.mark.browser
POOL = [pair_row(pair) for pair in make_pairs(40)]
FIRST = ".plab-first .plab-text"


def test_after_a_kernel_restart_nothing_claims_to_be_saved_and_the_cell_resumes(desk):
    desk = desk(POOL)
    desk.run_all()
    desk.press("1")
    desk.press("2")
    shown = desk.page.locator(FIRST).inner_text()
    desk.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    desk.wait_status("NOT CONNECTED", timeout=30_000)
    desk.page.keyboard.press("1")
    desk.page.wait_for_timeout(500)
    assert "NOT CONNECTED" in desk.status() and len(desk.choices()) == 2
    desk.page.wait_for_selector("text=| Idle", timeout=60_000)
    desk.run_all()
    desk.wait_status("Ready. 2 of 48")
    assert desk.page.locator(FIRST).inner_text() == shown


def test_a_frozen_kernel_is_not_confirmed_and_the_label_arrives_once_when_it_thaws(desk):
    desk = desk(POOL)
    desk.run_all()
    kernel = desk.lab.kernels()[-1]
    kernel.suspend()
    try:
        desk.page.keyboard.press("1")
        desk.wait_status("NOT CONFIRMED")
        desk.page.keyboard.press("2")
        desk.wait_status("this key was not counted")
        assert desk.choices() == []
    finally:
        kernel.resume()
    desk.wait_status("Saved: first better")
    assert desk.choices() == ["first"]
    desk.press("2")
    assert desk.choices() == ["first", "second"]


def test_two_tabs_on_one_notebook_give_one_label_per_pair(desk):
    desk = desk(POOL)
    desk.run_all()
    desk.page.keyboard.press("Control+s")
    desk.page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")
    other = desk.open()
    other.wait_for_selector(".plab", timeout=30_000)
    for page in (desk.page, other):     # not waiting for either
        page.evaluate("document.querySelector('.plab').dispatchEvent("
                      "new KeyboardEvent('keydown', {key: '1', bubbles: true}))")
    time.sleep(1)
    assert len(desk.choices()) == 1
    assert desk.page.locator(FIRST).inner_text() == other.locator(FIRST).inner_text()


def test_a_newer_window_takes_over_and_the_older_one_says_not_saved(desk):
    desk = desk(POOL)
    desk.run_all()
    desk.press("1")
    older = desk.page
    copy = desk.file.with_name("copy.ipynb")
    shutil.copy(desk.file, copy)
    desk.page = desk.open(copy.name)
    desk.run_all()
    desk.press("3")             # the newer window takes the log with its first answer
    older.bring_to_front()
    older.keyboard.press("2")
    desk.wait_status("NOT SAVED: labelling moved to a newer window", older)
    assert desk.choices() == ["first", "tie"]
    desk.page.bring_to_front()
    desk.press("3")
    assert desk.choices() == ["first", "tie", "tie"]


def test_a_window_that_was_only_opened_takes_the_log_from_nobody(desk):
    desk = desk(POOL)
    desk.run_all()
    at_work = desk.page
    copy = desk.file.with_name("copy.ipynb")
    shutil.copy(desk.file, copy)
    desk.page = desk.open(copy.name)
    desk.run_all()
    at_work.bring_to_front()
    at_work.keyboard.press("2")
    desk.wait_status("Saved: second better", at_work)
    assert desk.choices() == ["second"]


def test_quit_says_so_and_a_new_visit_opens_at_the_exact_pair(desk):
    desk = desk(POOL)
    desk.run_all()
    for key in "123":
        desk.press(key)
    shown = desk.page.locator(FIRST).inner_text()
    desk.press("q")
    assert "Stopped at 3 of 48. Everything is saved." in desk.page.locator(".plab-end").inner_text()
    assert not desk.page.locator(".plab-work").is_visible()
    desk.page.keyboard.press("1")
    assert len(desk.choices()) == 3
    desk.page.close()
    desk.page = desk.open()
    desk.run_all()
    assert desk.page.locator(FIRST).inner_text() == shown
