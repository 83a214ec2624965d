"""Several annotators in a real JupyterLab: who is there, two at once, disagreements settled."""

from __future__ import annotations

import json
import shutil

import pytest

from persuasion_lib.core.records import pair_row
from persuasion_lib.demo.standins import SimulatedAnnotator
from persuasion_lib.labeling.events import EventLog
from persuasion_lib.labeling.opening import Asked
from persuasion_lib.labeling.panel import Shared
from worlds.labeling_pool import make_pairs

pytestmark = pytest.mark.browser
PAIRS = make_pairs(60)
POOL = [pair_row(pair) for pair in PAIRS]
THREE = ("label_human.annotators=[ann, ben, cleo]", "label_human.repeat_fraction=0",
         "label_human.checks=0")
# Noise and bias to the longer reply of each, in units in which replies differ by about 1.
HABITS = {"ann": (0.3, 0.0), "ben": (1.5, 0.0), "cleo": (0.3, 1.5)}


def label_by_stand_ins(folder):
    """The logs that three people would leave on 60 pairs with 30 % overlap."""
    asked = Asked(PAIRS, "", seed=0, repeat_fraction=0, checks=0)
    shared = Shared(asked, list(HABITS), lambda name: [], overlap=0.3)
    for name, (noise, bias) in HABITS.items():
        person = SimulatedAnnotator(sum(map(ord, name)), noise=noise, bias=bias)
        session = shared.write(name, EventLog(folder / f"human_events.{name}.jsonl"))
        while item := session.current:
            label = person.label(item.pair.prompt, item.pair.response_a, item.pair.response_b)
            session.choose(session.token(item), item.choice_for(label), 9.0)


def test_disagreements_of_three_are_settled_by_key_and_the_labels_reach_the_file(desk):
    desk = desk(POOL, *THREE, "label_human.labels_from=adjudicated")
    folder = desk.project / "data/demo/preferences"
    label_by_stand_ins(folder)
    desk.run_all("are not settled yet")
    chooser = desk.page.locator(".plab-people")
    for line in ("ann", "ben", "cleo", "Settle disagreements"):
        assert line in chooser.inner_text()
    desk.press("4")
    count = int(desk.page.locator(".plab-count").inner_text().split()[4])
    assert count > 3
    for at in range(count):
        given = desk.page.locator(".plab-given").inner_text()
        assert "who said what is not shown" in given and "cleo" not in given
        desk.press("123"[at % 3])
    assert "All answered" in desk.page.locator(".plab-end").inner_text()
    settled = desk.events("human_adjudications.jsonl")
    assert [event["choice"] for event in settled[:3]] == ["first", "second", "tie"]
    desk.run_all_again()
    rows = [json.loads(line)["metadata"] for line in
            (folder / "human_pool_labeled.jsonl").read_text().splitlines()]
    assert len(rows) == 60 and sum("adjudicated" in row for row in rows) == count
    assert sum(len(row["given"]) == 3 for row in rows) == 18


def test_two_people_label_at_once_in_two_kernels_and_see_their_own_pairs_only(desk):
    desk = desk(POOL, *THREE)
    desk.run_all()
    desk.press("1")                     # ann
    desk.wait_status("Ready, ann")
    first = desk.page
    copy = desk.file.with_name("copy.ipynb")
    shutil.copy(desk.file, copy)
    desk.page = desk.open(copy.name)
    desk.run_all()
    desk.press("2")                     # ben
    desk.wait_status("Ready, ben")
    for page in (first, desk.page, first, desk.page):
        page.bring_to_front()
        page.wait_for_timeout(200)
        page.keyboard.press("1")
        desk.wait_status("Saved", page)
    for name in ("ann", "ben"):
        events = desk.events(f"human_events.{name}.jsonl")
        assert [event["annotator"] for event in events] == [name, name]
    desk.press("q")
    desk.page.get_by_role("button", name="Another annotator").click()
    desk.page.locator(".plab-people").wait_for()
    assert "2 of" in desk.page.locator(".plab-people button", has_text="ann").inner_text()
