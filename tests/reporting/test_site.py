"""The published pages of a run: they hold what was executed, and their links lead somewhere."""

import json
import re

import nbformat
import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import write_text
from persuasion_lib.reporting.site import make_site
from worlds.scratch import ROOT


@pytest.fixture
def config(project):
    """A run with a report and two executed notebooks."""
    config = load_config("demo")
    write_text(path_of(config, "report_html"), "<p>the report</p>")
    write_text(project / "docs" / "glossary.md", (ROOT / "docs" / "glossary.md").read_text())
    cell = nbformat.v4.new_markdown_cell(
        "# One\n[next](01_label_ai.ipynb) [index](index.ipynb) [DPO](../docs/glossary.md#dpo)")
    text = nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))
    for name in ("00_prepare", "01_label_ai"):
        write_text(path_of(config, "notebooks") / f"{name}.ipynb", text)
    write_text(project / "notebooks" / "07_study.ipynb", text)      # of studies, no run has it
    return config


def test_every_notebook_the_report_and_the_glossary_are_linked_and_there(config, tmp_path):
    pages = make_site(config, tmp_path / "site")
    names = {page.name for page in pages}
    assert names == {"index.html", "00_prepare.html", "01_label_ai.html", "07_study.html",
                     "report.html", "glossary.html"}
    for page in pages:
        links = re.findall(r'href="([\w-]+\.(?:html|ipynb|md))', page.read_text())
        assert set(links) <= names, page.name
    anchors = re.findall(r'id="([\w-]+)"', (tmp_path / "site" / "glossary.html").read_text())
    assert "dpo" in anchors


def test_pages_follow_the_readers_system_and_the_demo_says_what_it_is(config, tmp_path):
    make_site(config, tmp_path / "site")
    page = (tmp_path / "site" / "00_prepare.html").read_text()
    assert '<style media="(prefers-color-scheme: dark)">' in page
    assert "STAND-INS" in (tmp_path / "site" / "index.html").read_text()


def test_a_site_may_be_made_again_and_no_other_folder_is_written_to(config, tmp_path):
    for _ in range(2):
        make_site(config, tmp_path / "site")
    write_text(tmp_path / "mine" / "thesis.txt", "x")
    with pytest.raises(ConfigError, match="holds other files"):
        make_site(config, tmp_path / "mine")


def test_without_a_report_it_says_what_to_run(project, tmp_path):
    with pytest.raises(MissingInput, match=r"Run notebooks/06_analysis.ipynb first"):
        make_site(load_config("demo"), tmp_path / "site")


WORDS = {"kappa": "kappa", "Krippendorff": "alpha", "Holm": "holm", "Plackett": "plackett-luce",
         "PPI": "ppi", "gold utility": "gold-utility", "LoRA": "lora", "beta": "beta",
         "position bias": "position-bias", "bootstrap": "bootstrap", "BCa": "bca", "nats": "kl",
         "stand-in": "stand-in", "anchor": "anchor", "Kendall": "kendall-w"}


def prose_of(notebook):
    """The Markdown of a notebook without its code, formulas and tables of contents."""
    cells = json.loads(notebook.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", "", text, flags=re.S)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("0*.ipynb")),
                         ids=lambda path: path.stem)
def test_a_notebook_that_uses_a_word_of_the_glossary_links_to_it_once(path):
    text = prose_of(path)
    used = {anchor for word, anchor in WORDS.items() if re.search(rf"\b{word}\b", text, re.I)}
    assert used <= set(re.findall(r"glossary\.md#([\w-]+)", text))


def test_every_word_of_the_glossary_that_a_notebook_links_to_is_there():
    anchors = set(re.findall(r'id="([\w-]+)"', (ROOT / "docs" / "glossary.md").read_text()))
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        used = set(re.findall(r"glossary\.md#([\w-]+)", path.read_text()))
        assert used <= anchors, path.name
