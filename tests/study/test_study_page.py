"""The page and the figures of a study."""

import copy
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from persuasion_lib import study_analysis
from persuasion_lib.study import figures, page
from persuasion_lib.study.analysis import links
from worlds.synthetic_study import analysed, make_scores, make_study

HOSTILE = ("<script>alert(1)</script>", "a|b", "$\\frac{1}{$", "plain" * 20)


def written(folder, result):
    """The text of the page; its figures lie beside it."""
    figures.write_figures(folder / "figures", result)
    return page.as_html(result, folder / "figures")


@pytest.fixture(scope="module")
def headline():
    return analysed(make_study(), people=12)


def test_the_page_begins_with_the_answer_and_ends_with_its_limits(tmp_path, headline):
    html = written(tmp_path, headline)
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == ["How many human labels are the AI labels worth?", "The design",
                      "Win rates against sft", "What the warm-up adds: rlaif_rlhf − rlhf",
                      "How many human labels is the warm-up worth?", "All cells",
                      "What limits these figures"]
    assert html.count("<figure>") == 4
    assert "STAND-INS: this is not a real experiment" in html.split("<h1>")[0]


def test_people_stand_before_the_judge_in_every_table(headline):
    for name in ("curves", "advantage"):
        assert list(page.part(headline, name).table.columns[:3]) == [
            "by people", "by the judge", "the demo's truth"]


def test_the_page_loads_nothing_and_runs_nothing(tmp_path, headline):
    html = written(tmp_path, headline)
    assert not re.search(r'(src|href)="(?!#)', html) and "<script" not in html


def test_hostile_names_of_levels_are_text_on_the_page_and_in_the_figures(tmp_path):
    study = make_study(HOSTILE, axis="data.system_prompt", arms=("rlhf", "rlaif_rlhf"), seeds=2)
    html = written(tmp_path, analysed(study, prompts=30, rate=lambda arm, level: 0.6))
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    for path in (tmp_path / "figures").glob("*.svg"):
        assert not ElementTree.parse(path).findall(".//{http://www.w3.org/2000/svg}script")


@pytest.mark.parametrize("study", [
    make_study(seeds=1), make_study((50,), seeds=2), make_study(arms=("rlhf",), seeds=2),
    make_study(arms=("rlhf", "rlaif"), seeds=2), make_study(seeds=2, second_anchor="oracle"),
    make_study((0.1,), axis="dpo.beta", arms=("rlaif",), seeds=2)],
    ids=["one seed", "one level", "one arm", "no pair", "two anchors", "one cell of a setting"])
def test_small_studies_have_a_page_too(tmp_path, study):
    rate = (lambda arm, level: 0.6) if study.axis == "dpo.beta" else None
    result = analysed(study, prompts=30, people=3, **({"rate": rate} if rate else {}))
    assert result["sentences"] and "<h2>All cells</h2>" in written(tmp_path, result)
    assert all(page.part(result, name).title for name in page.PARTS)


def test_a_setting_has_no_exchange_rate(tmp_path):
    study = make_study((0.05, 0.1), axis="dpo.beta", arms=("rlhf",), seeds=2)
    html = written(tmp_path, analysed(study, rate=lambda arm, level: 0.6))
    assert "Every level against 0.1" in html and "worth?" not in html.split("<h2>", 2)[2]
    assert not (tmp_path / "figures" / "exchange.png").exists()


def test_the_same_result_gives_the_same_bytes_of_every_figure(tmp_path, headline):
    once, again = (figures.write_figures(tmp_path / name, headline) for name in "ab")
    assert [path.suffix for path in once] == [".png", ".svg", ".pdf"] * 4
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_cells_are_linked_from_the_studys_folder_and_only_what_is_there(tmp_path):
    cell, beside = tmp_path / "runs" / "beta.a b.s1", tmp_path / "studies" / "beta"
    (cell / "notebooks").mkdir(parents=True)
    (cell / "notebooks" / "05_evaluate.ipynb").touch()
    assert links(cell, beside) == {
        "05_evaluate.ipynb": "../../runs/beta.a%20b.s1/notebooks/05_evaluate.ipynb"}


def test_a_cell_that_failed_says_why_in_the_table(tmp_path):
    study = make_study(seeds=2)
    result = analysed(study, make_scores(study, prompts=30))
    result["cells"][0] |= {"state": "failed", "why": "loss is <nan> at step 3"}
    html = written(tmp_path, result)
    assert "failed: loss is &lt;nan&gt; at step 3" in html
    assert replace(study).cells[0].name in html


def test_a_figure_of_arrows_alone_is_told_in_words(headline):
    assert page.part(headline, "exchange").lines == []
    result = copy.deepcopy(headline)
    found = result["anchors"][result["leading"]]
    for row in found["exchange"]:
        row.update(labels=900, ci_low=500, ci_high=None, beyond="more")
    said, = page.part(result, "exchange").lines
    assert said.startswith("By the judge, all of these models reach more than rlhf does with 200")


def test_the_design_has_a_square_for_every_model_at_a_setting_of_0_too():
    """2 arms, 2 levels, 2 seeds: 8 models; with human labels rlaif stands at 0 alone: 2 + 4."""
    noise = make_study((0.0, 0.1), axis="training.label_noise", arms=("rlhf", "rlaif"), seeds=2)
    flat = analysed(noise, prompts=30, rate=lambda arm, level: 0.6)
    labels = analysed(make_study((25, 50), arms=("rlhf", "rlaif"), seeds=2), prompts=30)
    assert [len(figures.design(result).axes[0].lines) for result in (flat, labels)] == [8, 6]


def test_what_a_study_has_not_is_one_sentence_that_says_who_has_it(headline):
    assert page.part(headline, "levels").lines == (
        "Only a study of a setting, such as beta, has this table.",)


def test_a_study_is_described_by_what_it_trains_and_where_it_writes():
    part = study_analysis.described(make_study())
    about = part.table[""]
    assert about["levels of human labels"] == "25, 50, 100, 200" and about["primary level"] == "50"
    assert about["writes to"].endswith("studies/human_labels")
