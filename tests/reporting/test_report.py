import copy
import io
import re

import pandas as pd
import pytest
from matplotlib.image import imread

from persuasion_lib.reporting import figures, report
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.qualitative import SHOWN, qualitative
from worlds.synthetic_evaluation import (
    MODELS,
    analysed,
    evaluated,
    from_elsewhere,
    make_evaluation,
    planted,
)

ATTACK = "<script>alert(1)</script>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"></svg>'


def opening(result):
    """The first lines below the title: what somebody reads who reads no more."""
    _, _, below = report.as_text(result).partition("EVALUATION SUMMARY")
    return "\n".join(below.splitlines()[3:9])


def test_the_answer_comes_first_with_size_certainty_and_reach():
    text = " ".join(report.as_text(planted()).split("\nSuccess")[0].split())
    assert "By the stand-ins, the model with the warm-up came out ahead. rlaif_rlhf scored" in text
    assert "is found four times in five" in text and "The demo knows the truth" in text
    assert "Planned 40 prompts, evaluated 40, scored 40" in text


@pytest.mark.parametrize(("judge", "kind"), [
    ("first", "always-first"), ("longer", "always-longer"), ("random", "random"),
    ("ties", "tie-only"), ("unread", "mostly unscored"),
    ("forged", "forged-verdict")])
def test_the_first_line_names_a_broken_judge_and_nothing_differs(judge, kind):
    result = planted(judge)
    assert opening(result).splitlines()[2].startswith(f"THE JUDGE IS BROKEN ({kind})")
    assert not re.search(r"\bdiffers  ", report.as_text(result))


def test_a_trial_prints_no_verdict_and_no_significance():
    text = report.as_text(planted(n=24, trial=True))
    assert "TRIAL: no verdict" in text and "helped" not in text
    assert "none detected" not in text and "  differs" not in text


def test_every_criterion_of_the_specification_stands_in_the_report():
    text = report.as_text(planted())
    for words in ("All 4 models", "completes", "RLHF/RLAIF > SFT > Base", "gibberish", "warm-up",
                  "Similarity correlates", "p < 0.05", "Qualitative"):
        assert words in text


def test_p_values_are_never_zero():
    text = report.as_text(planted())
    assert "<0.0001" in text and not re.search(r"p = 0\.0+\b(?!\d*[1-9])", text)


def test_the_models_are_listed_best_first_with_their_intervals():
    text = report.as_text(planted()).split("Grader Ranking Scores (normalized to 0-1)")[1]
    text = text.split("Every pair")[0]
    names = re.findall(r"^(\w+) +0\.\d{3}  \[", text, re.MULTILINE)
    assert names == list(reversed(MODELS))


def test_trainings_are_reported_with_the_kept_step_and_their_alarms():
    text = report.as_text(planted()).split("How the models were trained")[1]
    assert "Alarm, rlhf: replies are 2.00 times as long" in text
    assert "0.50 → 0.70" in text and "2.100 → 1.100" in text      # accuracy; SFT's held-out loss
    elsewhere = analysed(from_elsewhere(make_evaluation(3)))
    assert elsewhere["training"] is None and "were trained" not in report.as_text(elsewhere)


def test_the_report_ends_with_its_limits():
    last = report.as_text(planted()).split("What limits these figures")[1]
    assert "One training seed" in last and "Stand-ins" in last and "One sampled reply" in last


def test_the_same_result_gives_the_same_report_and_figures():
    result, same = planted(), copy.deepcopy(planted())
    assert report.as_text(result) == report.as_text(same)
    draw = figures.grader_scores
    assert draw(result)._repr_png_() == draw(same)._repr_png_()


@pytest.mark.parametrize("models", [("rlhf", "rlaif_rlhf"), ("base", "sft", "rlhf"), MODELS[:4]],
                         ids=len)
def test_reports_and_figures_work_for_any_number_of_models(models):
    result = planted(models=models)
    assert all(name in report.as_text(result) for name in models)
    for draw in figures.FIGURES.values():
        assert imread(io.BytesIO(draw(result)._repr_png_())).std() > 0


def test_a_file_with_almost_nothing_in_it_still_gives_a_report_and_figures():
    evaluation = from_elsewhere(make_evaluation(1))
    for row in evaluation["per_example"]:
        del row["position_map"], row["similarity_scores"], row["grader_explanation"]
    result = analysed(evaluation)
    assert "TOO FEW" in report.as_text(result)
    assert qualitative(result, evaluated(evaluation)).count("===") == 10
    for draw in figures.FIGURES.values():
        draw(result)._repr_png_()


def test_every_figure_has_one_caption_sentence(tmp_path):
    for name in figures.FIGURES:
        (tmp_path / f"{name}.svg").write_text(SVG)
    page = report.as_html(planted(), tmp_path, "")
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert "95% interval over 40" in captions[0]
    assert len(set(captions)) == len(figures.FIGURES) - 1   # nobody compared replies in this one
    assert all(text.endswith(".") and text.count(". ") == 0 for text in captions)


def test_the_page_holds_its_figures_loads_nothing_and_escapes_what_models_wrote(tmp_path):
    result = copy.deepcopy(planted())
    result["warnings"] = [f"unread: {ATTACK}"]
    (tmp_path / "grader_scores.svg").write_bytes(
        figures.FIGURES["grader_scores"](result).written("svg"))
    page = report.as_html(result, tmp_path, f"REPLY: {ATTACK}")
    assert "Score by the judge" in page and page.count("&lt;script&gt;") == 2
    assert "<script" not in page and "http" not in page


def test_the_contents_lead_to_every_part_and_examples_are_unfolded(tmp_path):
    page = report.as_html(planted(), tmp_path, "best")
    links = re.findall('href="#([^"]+)"', page)
    assert links == [*(name.replace(" ", "-") for name in report.parts(planted())), "examples"]
    assert all(f'id="{name}"' in page for name in links) and "<details open>" in page


def test_the_models_are_said_with_what_each_learned_from_and_those_of_strangers_are_not():
    result = copy.deepcopy(planted())
    result["training"]["rlaif"]["rows"] = 1548
    table = report.parts(result)["models"].table
    assert list(table.loc["rlaif"]) == ["sft + AI labels", "1,548 pairs"]
    assert table.loc["rlaif_rlhf", "made of"] == "rlaif + human labels"
    assert "models" not in report.parts(result | {"given": "theirs.json"})


def test_figures_are_files_of_three_kinds_with_the_same_bytes_twice():
    for kind in figures.KINDS:
        first, second = (figures.FIGURES["grader_scores"](planted()).written(kind)
                         for _ in range(2))
        assert first == second


def test_a_figure_in_a_page_takes_its_ink_from_there_and_styles_only_itself():
    svg = figures.FIGURES["training_curves"](planted())._repr_svg_()
    assert "#000000" not in svg and "var(--ink)" in svg and "<metadata" not in svg
    assert not re.search(r"<style[^>]*>\s*\*", svg)


def test_a_models_name_is_text_in_a_figure():
    result = copy.deepcopy(planted())
    for row in result["scores"]:
        row["model"] = ATTACK if row["model"] == "rlhf" else row["model"]
    result["models"] = [ATTACK if model == "rlhf" else model for model in result["models"]]
    assert "<script" not in figures.FIGURES["grader_scores"](result)._repr_svg_()


def test_examples_do_not_depend_on_the_order_of_the_file():
    evaluation, result = make_evaluation(40, unscored=2), planted(unscored=2)
    backwards = evaluation | {"per_example": evaluation["per_example"][::-1]}
    text = qualitative(result, evaluated(evaluation))
    assert text == qualitative(result, evaluated(backwards))
    assert text.count("BEST") == text.count("WORST") == len(MODELS) * SHOWN
    assert "e00039" not in text and "Rule:" in text
    assert "e00039" not in qualitative(result, evaluated(from_elsewhere(evaluation)))


def test_the_best_example_of_a_model_has_its_highest_score():
    evaluation = make_evaluation(40)
    first = qualitative(planted(), evaluated(evaluation)).split("=== rlhf: BEST (score ")[1][:4]
    assert float(first) == max(r["grader_scores"]["rlhf"] for r in evaluation["per_example"])


def test_a_part_is_found_by_its_name_and_says_so_where_there_is_nothing():
    assert report.part(planted(), "scores").title.startswith("Grader Ranking Scores")
    assert report.part(planted(), "agreement").lines == ("The evaluation does not say.",)
    with pytest.raises(KeyError):
        report.part(planted(), "no such part")


def test_a_part_in_a_notebook_is_escaped_and_has_no_figure():
    result = copy.deepcopy(planted())
    result["warnings"] = [f"unread: {ATTACK}"]
    html = report.part(result, "input")._repr_html_()
    assert "&lt;script&gt;" in html and "<script" not in html and "<figure" not in html


def test_long_lists_are_folded_on_a_page_and_told_in_the_text():
    part = Part("Checked", ["2 looked."], folded={"What was fine": ["one, two", ATTACK]})
    html = part._repr_html_()
    assert "<details><summary>What was fine</summary>" in html and "<li>one, two</li>" in html
    assert "&lt;script&gt;" in html and "<script" not in html
    assert re.search(r"\d+ kinds of checks found nothing: .*two models, one text; ",
                     " ".join(report.as_text(planted()).split()))


def test_a_table_of_words_stands_to_the_left_and_one_of_numbers_does_not():
    words = Part("", table=pd.DataFrame({"what": ["a sentence that is longer than forty letters"]}))
    assert '<td style="text-align:left">' in words._repr_html_()
    assert "<td>1" in Part("", table=pd.DataFrame({"n": [1]}))._repr_html_()


def test_who_played_which_part_is_a_table():
    table = report.part(planted(), "input").table["who or what"]
    assert table["base model"] == "demo" and table["orders for each prompt"] == "2"
