"""Notebook 07: what a study says, once its cells have run.

`analyse` computes `study.json`, the one source of the page and of every figure.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.config import find_root, load_config
from persuasion_lib.core.overrides import key_of, listed
from persuasion_lib.core.prose import nearby
from persuasion_lib.core.store import write_json, write_text
from persuasion_lib.reporting.page import Part
from persuasion_lib.study import analysis, figures, page, words
from persuasion_lib.study.design import Study, read_study
from persuasion_lib.study.file import level_name, profile_of
from persuasion_lib.study.run import states
from persuasion_lib.study.scores import read_scores

RESULT, PAGE, FIGURES = "study.json", "study.html", "figures"


def open_study(study: str, profile: str = "", overrides: Sequence[str] = ()) -> Study:
    """A study of `configs/studies/`, or of a file, with its own profile unless another is given.

    Args:
        overrides: settings of every cell; `name=` is the name of the study here.

    Raises:
        ConfigError: there is no such study or profile, or its file is not one.
    """
    given = listed(overrides)
    names = [text.partition("=")[2] for text in given if key_of(text) == "name"]
    others = [text for text in given if key_of(text) != "name"]
    config = load_config(profile or profile_of(find_root(), study), others)
    return read_study(config, study, name=names[-1] if names else None)


def described(study: Study) -> Part:
    """What is asked, of what, and where the answer goes."""
    rows = {f"levels of {words.axis(study.axis)}": map(level_name, study.levels),
            "arms, the models trained at them": study.arms,
            "seeds of training": study.seeds, "primary level": [level_name(study.primary)],
            "anchor, to compare with": study.anchors, "profile": [study.profile],
            "writes to": [nearby(study.folder, study.config.root)]}
    table = pd.DataFrame({"": {name: ", ".join(map(str, values)) for name, values in rows.items()}})
    return Part(f"Study {study.name}", [study.question], table, notes=study.notes)


def analyse(study: Study) -> dict[str, Any]:
    """Write `study.json` and return it.

    Raises:
        DataError: no cell of the study has a score yet.
    """
    result = analysis.analyse(study, read_scores(study), states(study))
    write_json(study.folder / RESULT, result)
    return result


def cell_counts(result: Mapping[str, Any]) -> pd.DataFrame:
    """How many cells are in which state."""
    table = pd.DataFrame(result["cells"])
    return table.groupby("state").size().rename("cells").to_frame()


def write_outputs(study: Study, result: Mapping[str, Any]) -> list[Path]:
    """The figures and the page."""
    folder = study.folder / FIGURES
    return [*figures.write_figures(folder, result),
            write_text(study.folder / PAGE, page.as_html(result, folder))]
