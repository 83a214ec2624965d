import json
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from persuasion_lib.core import runner
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.kernel import KEEPS_MEMORY, Kernel
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.runner import chosen_stages
from worlds.scratch import clean_environment, persuasion


def test_a_run_executes_all_eight_notebooks_and_ends_with_the_summary(smoke_run):
    folder, output = smoke_run
    executed = sorted(p.name for p in (folder / "results" / "smoke" / "notebooks").iterdir())
    assert executed == [f"{stage.notebook}.ipynb" for stage in STAGES.values()]
    assert "EVALUATION SUMMARY" in output and "planned" in output and "report.html" in output
    assert ("person or data: corpus, model, judge of labels, annotator, people who compare, judge,"
            in " ".join(output.split()))
    assert all(name in output.split("EVALUATION SUMMARY")[1]
               for name in ("base", "sft", "rlhf", "rlaif", "rlaif_rlhf", "gold utility"))


def test_kernels_keep_freed_memory_unless_the_user_set_it_otherwise(monkeypatch):
    def environment():
        return Kernel().arguments()["kernel_manager_class"].kernel_spec.env

    for name in KEEPS_MEMORY:
        monkeypatch.delenv(name, raising=False)
    assert KEEPS_MEMORY.items() <= environment().items()
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "65536")
    assert environment()["MALLOC_MMAP_MAX_"] == "65536"


def test_a_second_run_executes_nothing_and_says_so(smoke_run):
    result = persuasion(smoke_run[0], "run", "--profile", "smoke")
    assert result.returncode == 0 and "Nothing changed: no notebook was executed." in result.stdout
    assert "EVALUATION SUMMARY" in result.stdout


def test_status_tells_done_from_stale_with_the_reason(smoke_run):
    result = persuasion(smoke_run[0], "status", "--profile", "smoke", "--set", "dpo.beta=0.2")
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "done" in lines["03_validate"]
    assert "stale" in lines["04_train_dpo"] and "dpo.beta was 0.1, is 0.2" in lines["04_train_dpo"]
    assert "04_train_dpo will run again" in lines["05_evaluate"]
    assert "05_evaluate, 05b_human_eval will run again" in lines["06_analysis"]


def test_a_run_of_one_stage_says_that_the_summary_after_it_is_out_of_date(smoke_copy):
    result = persuasion(smoke_copy, "run", "--profile", "smoke", "--only", "analysis",
                        "--set", "gates.max_opening_gap=0.9")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if "planned" in line}
    assert "OUT OF DATE: gates.max_opening_gap was 1.0, is 0.9" in lines["00_prepare"]
    assert "05_evaluate, 05b_human_eval will run again" in lines["06_analysis"]
    before, after = result.stdout.split("EVALUATION SUMMARY")
    assert "What follows is from before these changes." in before and "rlaif_rlhf" in after
    unchanged = persuasion(smoke_copy, "run", "--profile", "smoke", "--only", "analysis")
    assert "OUT OF DATE" not in unchanged.stdout and "What follows" not in unchanged.stdout


def test_status_before_any_run_says_missing(project):
    assert persuasion(project, "status").stdout.count("missing") == 8


@pytest.mark.parametrize("arguments, message", [
    (["--set", "dpo.bta=1"], "Did you mean dpo.beta?"),
    (["--set", "dpo.beta=x"], "dpo.beta"),
    (["--profile", "dmo"], "There are: demo, full, small, smoke"),
    (["--only", "train"], "There are: prepare"),
    (["--from", "evaluate", "--to", "prepare"], "comes after"),
    (["--only", "validate"], "Run notebooks/00_prepare.ipynb and those after it first"),
    (["--profile", "smoke", "--set", "paths.results=/proc/results"], "cannot be written")])
def test_bad_input_is_one_message_with_the_next_step_and_status_1(project, arguments, message):
    result = persuasion(project, "run", *arguments)
    assert result.returncode == 1 and message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_shell_that_allows_too_few_open_files_is_told_before_a_kernel_dies(project):
    few = ("import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
           "from persuasion_lib.cli import main; sys.exit(main(['run', '--profile', 'smoke']))")
    result = subprocess.run([sys.executable, "-c", few], cwd=project, capture_output=True,
                            text=True, env=clean_environment())
    assert result.returncode == 1 and "allows only 64 open files" in result.stderr
    assert "ulimit -n 4096" in result.stderr and "Traceback" not in result.stderr


def test_a_notebook_without_our_parameters_is_refused_before_anything_runs(project):
    path = project / "notebooks" / "06_analysis.ipynb"
    notebook = nbformat.read(path, 4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = cell.source.replace("profile", "profil")
    nbformat.write(notebook, path)
    result = persuasion(project, "run", "--profile", "smoke")
    assert result.returncode == 1
    assert "takes the parameters ['overrides', 'profil']" in result.stderr
    assert "done in" not in result.stdout


def test_a_failing_cell_gives_its_error_its_notebook_and_a_non_zero_status(smoke_copy):
    path = path_of(load_config("smoke"), "ai_pool_labeled")
    path.write_text("this is not JSON\n")
    (path_of(load_config("smoke"), "manifests") / "01_label_ai.json").unlink()
    result = persuasion(smoke_copy, "run", "--profile", "smoke", "--only", "validate")
    assert result.returncode == 1 and "ai_pool_labeled.jsonl:1: " in result.stderr
    assert "03_validate.ipynb" in result.stderr and "Traceback" not in result.stderr


def test_the_range_of_stages_is_inclusive():
    assert [s.name for s in chosen_stages("validate", "evaluate", None)] == [
        "validate", "train_dpo", "evaluate"]
    assert [s.name for s in chosen_stages(None, None, "analysis")] == ["analysis"]
    with pytest.raises(ConfigError):
        chosen_stages("analysis", "prepare", None)


def start_training(folder):
    """A run that has just begun to train, in a project where training is all that is missing."""
    for name in ("rlhf", "rlaif", "rlaif_rlhf"):
        shutil.rmtree(path_of(load_config("smoke"), name))
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "persuasion_lib.cli", "run", "--profile", "smoke",
         "--to", "train_dpo"], cwd=folder, env=clean_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert any("04_train_dpo" in line and "running" in line for line in process.stdout)
    first = path_of(load_config("smoke"), "rlhf") / "lineage.json"
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, first


@pytest.mark.parametrize("how, status", [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_after_a_kill_the_next_run_continues_from_what_was_finished(smoke_copy, how, status):
    process, first = start_training(smoke_copy)
    before = first.read_text()
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    if how == signal.SIGINT:
        assert "the same command goes on from there" in errors
    again = persuasion(smoke_copy, "run", "--profile", "smoke", "--to", "train_dpo")
    assert again.returncode == 0 and first.read_text() == before
    assert "03_validate     unchanged, not run" in again.stdout


def test_the_executed_notebooks_hold_outputs_and_no_widget_state(smoke_run):
    for path in (smoke_run[0] / "results" / "smoke" / "notebooks").iterdir():
        notebook = json.loads(path.read_text())
        assert any(c.get("outputs") for c in notebook["cells"]), path.name
        assert "widgets" not in notebook["metadata"], path.name


def test_one_stage_and_a_range_of_stages_are_not_asked_for_at_once():
    with pytest.raises(ConfigError, match="one or the other"):
        chosen_stages("evaluate", None, "train_dpo")
    with pytest.raises(ConfigError, match="one or the other"):
        chosen_stages(None, "evaluate", "train_dpo")


def test_links_of_an_executed_copy_lead_where_they_led_from_the_notebook(project):
    (project / "docs").mkdir()
    (project / "docs/glossary.md").write_text("words")
    text = ("[next](01_label_ai.ipynb) [all](index.ipynb) [kappa](../docs/glossary.md#kappa) "
            "[out](https://host/x.md) [gone](../docs/gone.md)")
    output = project / "results/demo/notebooks/00_prepare.ipynb"
    output.parent.mkdir(parents=True)
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(text)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), output)
    runner._lead_links_home(output, project / "notebooks")
    markdown, code = nbformat.read(output, as_version=4).cells
    assert markdown.source == (
        "[next](01_label_ai.ipynb) [all](../../../notebooks/index.ipynb) "
        "[kappa](../../../docs/glossary.md#kappa) [out](https://host/x.md) [gone](../docs/gone.md)")
    assert code.source == text


def test_jupyterlab_trusts_what_was_executed_here_and_nothing_that_was_changed_since(
        tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "new" / "jupyter"))
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    output = tmp_path / "executed.ipynb"
    nbformat.write(executed, output)
    runner._sign(output)
    notary = NotebookNotary(data_dir=str(tmp_path / "new" / "jupyter"))
    assert notary.check_signature(executed)
    executed.cells[0].source = "another"
    assert not notary.check_signature(executed)
    notary.store.close()


def test_a_user_without_a_folder_for_signatures_gets_the_notebook_all_the_same(
        tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "file" / "jupyter"))
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "executed.ipynb")
    runner._sign(tmp_path / "executed.ipynb")
