"""The drawing of the pipeline: what a run has done, where you are, and nothing that could run."""

import json
import re
from xml.etree import ElementTree

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.drawing import pipeline
from persuasion_lib.core.family import MODELS
from persuasion_lib.core.manifest import manifest_path
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.show import COLOURS
from worlds.scratch import ROOT


def texts(drawing):
    return [node.text for node in ElementTree.fromstring(drawing.svg).iter() if node.text]


def left(config, name, counts, **more):
    """The manifest of a stage that has finished, as far as the drawing reads it."""
    path = manifest_path(config, STAGES[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"counts": counts, "settings": {}, "prompts": {}, "files": {}}
                               | more))


@pytest.fixture
def config(project):
    return load_config("demo")


def test_a_fresh_project_has_run_nothing_and_you_are_in_one_place(config):
    shown = texts(pipeline(config, "validate"))
    assert shown.count("not run yet") == len(STAGES) and shown.count("you are here") == 1
    assert all(stage.notebook in shown for stage in STAGES.values())


def test_it_counts_what_the_run_has_and_says_what_is_open(config):
    left(config, "label_ai", {"planned": 2150, "done": 2147, "ties": 430},
         open={"pairs have no label yet": {"count": 3}})
    shown = texts(pipeline(config, "train_dpo"))
    assert {"2,147 of 2,150 labels", "430 ties", "3 open"} <= set(shown)


def test_a_result_of_other_settings_is_not_called_done(config):
    left(config, "human_eval", {"planned": 50, "done": 50, "ties": 5}, settings={"seed": 7})
    assert "other settings" in texts(pipeline(config))


@pytest.mark.parametrize("damage", ["{", "[]", '{"counts": {"done": null}}', "5"])
def test_a_damaged_manifest_spoils_its_own_box_alone(config, damage):
    left(config, "label_human", {"planned": 5, "done": 5, "ties": 0})
    path = manifest_path(config, STAGES["evaluate"])
    path.write_text(damage)
    shown = texts(pipeline(config, "prepare"))
    assert "5 of 5 labels" in shown and shown.count("not readable") == 1


def test_texts_of_files_cannot_become_markup(config):
    attack = "<script>1</script>\"'"
    left(config, "label_human", {"planned": attack, "done": attack, "ties": attack})
    drawing = pipeline(config, "label_human")
    assert "<script" not in drawing.svg
    ElementTree.fromstring(drawing.svg)


def test_looking_at_a_run_is_no_setting_that_a_stage_has_read(config):
    before = set(config.reads.settings)
    pipeline(config, "prepare")
    assert set(config.reads.settings) == before


def test_every_model_has_the_colour_that_figures_give_it():
    svg = pipeline().svg
    found = [svg.index(f'fill="{colour}"', svg.index("The models")) for colour in
             COLOURS[:len(MODELS)]]
    assert found == sorted(found)


def test_the_drawing_of_the_readme_is_current():
    """Else: python -m persuasion_lib.core.drawing > docs/pipeline.svg"""
    assert (ROOT / "docs" / "pipeline.svg").read_text() == f"{pipeline().svg}\n"


def test_it_loads_nothing_and_needs_no_fonts_of_its_own():
    assert not re.search(r"href|url\(|<image|<script", pipeline().svg)
