"""Errors of the library are sentences, in notebooks too."""

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from persuasion_lib.core.errors import MissingInput, PersuasionError
from persuasion_lib.core.pipeline import STAGES


def test_in_ipython_an_error_of_ours_is_its_sentence_and_another_one_a_traceback(capsys):
    shell = InteractiveShell()
    shell.run_cell("from persuasion_lib.core.errors import StaleInput\nraise StaleInput('Run 03.')")
    assert capsys.readouterr().out.strip() == "StaleInput: Run 03."
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out


def test_the_lines_of_an_error_stay_lines_and_no_word_is_cut():
    shown = MissingInput(f"{'word ' * 40}\n    a-command --with {'x' * 120}")._render_traceback_()
    assert len(shown) == 2 and "x" * 120 in shown[1]
    assert max(map(len, shown[0].splitlines())) <= 100


def test_all_our_errors_have_one_way_to_show_themselves():
    kinds = [PersuasionError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert len(kinds) >= 9 and all(hasattr(kind, "_render_traceback_") for kind in kinds)


def test_a_notebook_that_cannot_begin_shows_one_sentence(project):
    path = project / "notebooks" / f"{STAGES['human_eval'].notebook}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, resources={"metadata": {"path": path.parent}}).execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", [])
             if out.output_type == "error"]
    assert len(shown) == 1 and shown[0].traceback[0].startswith("MissingInput:")
    assert " ".join("\n".join(shown[0].traceback).split()) == f"MissingInput: {shown[0].evalue}"
