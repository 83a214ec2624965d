"""Facts that stand in two places, and promises of the README."""

import re
import subprocess
import sys
import tomllib

import yaml

from persuasion_lib.cli import _parser
from persuasion_lib.core.pipeline import STAGES
from worlds.scratch import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()


def test_conda_users_get_the_versions_of_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in conda if isinstance(item, dict))
    assert [p for p in pip if "editable" not in p] == PROJECT["dependencies"]
    assert f"python{PROJECT['requires-python']}" in conda


def test_every_dependency_is_pinned():
    extras = [d for group in PROJECT["optional-dependencies"].values() for d in group]
    assert all("==" in d for d in PROJECT["dependencies"] + extras)


def test_the_makefile_installs_the_pinned_torch():
    pin = next(d for d in PROJECT["dependencies"] if d.startswith("torch=="))
    assert pin in (ROOT / "Makefile").read_text()


def test_importing_the_library_does_not_import_torch():
    code = ("import sys, persuasion_lib.cli, persuasion_lib.label_human, persuasion_lib.label_ai, "
            "persuasion_lib.validate, persuasion_lib.analysis; assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make (\w+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_persuasion_command_of_the_readme_is_understood():
    verbs = "run|status|label|check"
    commands = re.findall(rf"^\s*persuasion ((?:{verbs}).*)$", README, re.M)
    assert commands
    for command in commands:
        arguments = command.split("#")[0].split()
        _parser().parse_args(arguments)


def test_the_readme_names_every_notebook_module_and_setting_file():
    for stage in STAGES.values():
        assert stage.notebook in README, stage.notebook
    for path in (ROOT / "persuasion_lib").glob("*.py"):
        assert path.name in README or path.stem.startswith("__"), path.name
    for path in (ROOT / "configs").glob("*.yaml"):
        assert path.stem.removesuffix(".example") in README, path.name


def test_ci_calls_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "make lint" in script and "make test" in script and "`make test`" in README


def test_stages_import_core_and_edges_and_never_each_other():
    for stage in STAGES:
        source = (ROOT / "persuasion_lib" / f"{stage}.py").read_text()
        others = "|".join(set(STAGES) - {stage})
        assert not re.search(rf"from persuasion_lib\.({others})\b", source), stage
