"""Runs notebook 07 on a study, and says where its page is."""

import textwrap
from pathlib import Path

from persuasion_lib.core import runner
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.store import read_json
from persuasion_lib.study.design import Study
from persuasion_lib.study.file import studies

NOTEBOOK = "07_study.ipynb"


def conclude(study: Study) -> str:
    """Execute the notebook; its answer, and where to read on.

    Raises:
        NotebookError: a cell of it failed.
    """
    root = study.config.root
    is_known = study.file in (root / "configs" / "studies" / f"{name}.yaml"
                              for name in studies(root))
    runner.execute_notebook(root / "notebooks" / NOTEBOOK, study.folder, {
        "profile": study.profile,
        "overrides": [*(text for text in study.config.overrides if key_of(text) != "name"),
                      f"name={study.name}"],
        "study": study.file.stem if is_known else str(study.file.resolve())})
    return said(study.folder)


def said(folder: Path) -> str:
    """The sentences of a finished study, and its page."""
    result = read_json(folder / "study.json", made_by=f"notebooks/{NOTEBOOK}")
    sentences = [textwrap.fill(text, 100, subsequent_indent="  ") for text in result["sentences"]]
    return "\n".join([result["study"]["question"], *sentences, f"page {folder / 'study.html'}"])
