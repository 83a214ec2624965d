"""Words in notebooks: they wrap at spaces, and nothing in them is markup."""

import pytest

from persuasion_lib.core.progress import Progress
from persuasion_lib.core.prose import Prose, Verbatim, nearby, prose


def test_every_line_is_a_paragraph_and_markup_is_text():
    assert prose(["One <b>two</b>.", "Three."])._repr_html_() == (
        "<p>One &lt;b&gt;two&lt;/b&gt;.</p><p>Three.</p>")


def test_without_html_lines_break_at_spaces_only():
    shown = repr(Prose("word " * 40))
    assert all(set(line.split()) == {"word"} and len(line) <= 100 for line in shown.split("\n"))


def test_a_question_keeps_its_line_breaks_and_its_markup_is_text():
    html = Verbatim("one\n <script>two")._repr_html_()
    assert "pre-wrap" in html and "one\n &lt;script&gt;two" in html


def test_a_path_is_seen_from_the_project_and_whole_elsewhere(tmp_path):
    assert nearby(tmp_path / "data" / "x", tmp_path) == "data/x"
    assert nearby(tmp_path / "x", tmp_path / "project") == str(tmp_path / "x")


def test_without_a_person_finished_work_is_one_line_of_words(capsys, monkeypatch):
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    with Progress(1150, "replies of sft") as progress:
        progress.update(1149, "all wait 5 s")
        progress.update(1, "2 unscored")
    assert capsys.readouterr().out == "» replies of sft: 1,150 of 1,150 in 0 s; 2 unscored\n"


@pytest.mark.parametrize("total", [0, 1])
def test_finished_work_and_a_single_thing_show_no_bar(capsys, monkeypatch, total):
    monkeypatch.delenv("PERSUASION_BATCH", raising=False)
    with Progress(total, "answers"):
        pass
    assert capsys.readouterr() == ("", "")
