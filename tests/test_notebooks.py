"""The notebooks as source: what they may contain, and that they run cell by cell."""

import ast
import json
import re
import shlex
import subprocess
import sys

import nbformat
import papermill
import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES
from worlds.scratch import ROOT, clean_environment

INDEX = ROOT / "notebooks" / "index.ipynb"      # links the others and is no stage
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if path != INDEX)
STUDY = "07_study"      # of many runs: no stage of one
OF_STAGES = [path for path in NOTEBOOKS if path.stem != STUDY]


def cells(path, kind):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == kind]


def test_there_is_one_notebook_per_stage_and_one_for_studies():
    assert [p.stem for p in NOTEBOOKS] == [*(stage.notebook for stage in STAGES.values()), STUDY]


def test_the_index_and_every_notebook_link_all_notebooks():
    for path in (INDEX, *NOTEBOOKS):
        first = nbformat.read(path, 4).cells[0].source
        others = {other.name for other in NOTEBOOKS if other != path}
        assert others <= set(re.findall(r"\((\w+\.ipynb)\)", first)), path.name


def test_the_index_shows_what_the_run_has_of_each(project):
    cell = cells(INDEX, "code")[-1]
    shown = {"profile": "demo", "overrides": []}
    *_, last = cell.source.splitlines()
    exec(cell.source.replace(last, f"drawing = {last}"), shown)
    assert repr(shown["drawing"]).count("not run yet") == len(STAGES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestSource:
    def test_no_outputs_are_stored(self, path):
        assert not any(c.outputs or c.execution_count for c in cells(path, "code"))

    def test_code_is_short_and_prose_is_at_least_as_much(self, path):
        code = cells(path, "code")
        assert len(cells(path, "markdown")) >= len(code) and 8 <= len(code) <= 20
        assert max(len(c.source.splitlines()) for c in code) <= 15

    def test_a_notebook_calls_the_library_and_defines_nothing(self, path):
        for cell in cells(path, "code"):
            assert not any(line.startswith(("!", "%")) for line in cell.source.splitlines())
            tree = ast.parse(cell.source)
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Try | ast.Lambda)
                           for node in ast.walk(tree))

    def test_the_first_cell_says_purpose_reads_writes_and_takes(self, path):
        first = nbformat.read(path, 4).cells[0].source
        assert all(word in first for word in ("Reads", "Writes", "Takes", "dollars"))

    def test_headings_make_a_table_of_contents(self, path):
        prose = "\n".join(cell.source for cell in cells(path, "markdown"))
        assert len(re.findall("^# ", prose, re.M)) == 1 and len(re.findall("^## ", prose, re.M)) > 2

    def test_one_cell_has_the_parameters(self, path):
        tagged = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
        assert len(tagged) == 1
        more = {"study"} if path.stem == STUDY else set()
        assert set(papermill.inspect_notebook(str(path))) == {"profile", "overrides"} | more

    def test_the_last_code_cell_checks_something_and_leaves_the_manifest(self, path):
        last = cells(path, "code")[-1].source
        assert ("assert " if path.stem == STUDY else "run.finish(") in last

    def test_links_between_notebooks_lead_somewhere(self, path):
        for cell in cells(path, "markdown"):
            for name in re.findall(r"\]\(([\w./]+\.(?:ipynb|md))[#)]", cell.source):
                assert (path.parent / name).exists()


    def test_the_commands_in_its_prose_name_settings_and_stages_that_there_are(self, path):
        for cell in cells(path, "markdown"):
            for line in re.findall(r"^ *(persuasion (?:run|label) .+)$", cell.source, re.M):
                words = shlex.split(line)
                given = {flag: [words[i + 1] for i, word in enumerate(words) if word == flag]
                         for flag in ("--set", "--to", "--name")}
                load_config("demo", given["--set"])
                assert set(given["--to"]) <= set(STAGES) and given["--name"]


RAW = {"a repr": r"PosixPath|object at 0x|\bStageRun\(|\bPlan\(|\barray\(|dtype=",
       "a missing value": r">\s*(?:NaN|nan|None|NaT|<NA>)\s*<",
       "nothing": r"\A(?:\[\]|\{\}|None|'')\Z",
       "an empty table": r"<tbody>\s*</tbody>|Empty DataFrame",
       "a text cut in the middle": r"\.\.\.</t[dh]>|…</t[dh]>"}


def shown(path):
    """What a reader sees of an executed notebook: (cell, kind, text), the richest form of each."""
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                yield cell.id, "stream", output.text
            elif not any(kind.startswith("image/") for kind in output.data):
                kind = next(kind for kind in ("text/html", "text/markdown", "text/plain")
                            if kind in output.data)
                yield cell.id, kind, output.data[kind]


# Not yet 04 and 05b, which still show a dict or a missing value.
@pytest.mark.parametrize("name", ["00_prepare", "01_label_ai", "02_label_human", "03_validate",
                                  "05_evaluate", "06_analysis"])
def test_an_executed_notebook_shows_nothing_raw_empty_or_cut(smoke_run, name):
    folder, _ = smoke_run
    found = list(shown(folder / "results" / "smoke" / "notebooks" / f"{name}.ipynb"))
    assert len(found) > 2
    for cell, kind, text in found:
        faults = [what for what, pattern in RAW.items() if re.search(pattern, text)]
        assert not faults, (cell, faults, text[:500])
        assert str(folder) not in text, (cell, text[:500])
        if kind == "stream":    # printed words would break anywhere: only the lines of progress
            assert all(line.startswith("» ") for line in text.splitlines() if line), (cell, text)
        else:                   # numbers, words and tables, not Python
            assert kind != "text/plain", (cell, text)


def test_every_notebook_runs_cell_by_cell_on_finished_inputs(smoke_copy):
    """nbval (lax): each cell runs; the asserts are in the cells."""
    before = recorded_settings(smoke_copy)
    for path in OF_STAGES:
        papermill.execute_notebook(str(path), str(smoke_copy / "notebooks" / path.name),
                                   parameters={"profile": "smoke"}, prepare_only=True,
                                   progress_bar=False)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p",
         "no:cacheprovider", "-o", "addopts=", "-W", "ignore", *sorted(
             str(smoke_copy / "notebooks" / path.name) for path in OF_STAGES)],
        cwd=smoke_copy / "notebooks", env=clean_environment() | {"PERSUASION_BATCH": "1"},
        capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:]
    # What was trained and paid before is not done again, and yet counts with what it depends on.
    assert recorded_settings(smoke_copy) == before


def recorded_settings(folder):
    """Per notebook the settings that its last run read."""
    return {path.stem: json.loads(path.read_text())["settings"]
            for path in (folder / "results" / "smoke" / "manifests").glob("*.json")}
