"""Facts that stand in two places, and promises of the README."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from persuasion_lib.cli import _parser
from persuasion_lib.core.pipeline import STAGES
from test_house import LIBRARY, imports
from worlds.scratch import ROOT, clean_environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROOMS = [path.parent.name for path in (ROOT / "persuasion_lib").glob("*/__init__.py")]
README = (ROOT / "README.md").read_text()


def requirements(*names):
    """The dependencies of the library, and of the extras that are named."""
    extras = [text for name in names for text in PROJECT["optional-dependencies"][name]]
    return [Requirement(text) for text in PROJECT["dependencies"] + extras]


def pins():
    """Version of every package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_dependency_has_a_lower_and_an_upper_bound():
    for need in requirements(*PROJECT["optional-dependencies"]):
        assert {bound.operator for bound in need.specifier} == {">=", "<"}, str(need)


def test_what_make_installs_lies_within_the_bounds():
    for need in requirements(*PROJECT["optional-dependencies"]):
        assert need.specifier.contains(pins()[need.name]), str(need)


@pytest.mark.parametrize(("folders", "extras"), [
    (["persuasion_lib"], ["local"]), (["tests", "benchmarks"], ["test"])])
def test_what_the_code_imports_is_a_named_dependency(folders, extras):
    named = {need.name for need in requirements(*extras)}
    found = {module.split(".")[0] for folder in folders for path in (ROOT / folder).rglob("*.py")
             for module in imports(path)}
    installed = metadata.packages_distributions()
    for module in found & set(installed) - {"persuasion_lib"}:
        assert named & {canonicalize_name(name) for name in installed[module]}, module


def test_conda_users_and_ci_get_the_same_versions():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-1] == {"pip": ["--constraint constraints.txt", "--editable ."]}
    assert f"python{PROJECT['requires-python']}" in conda
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert "grep '^torch==' constraints.txt" in workflow and "bash .ci/run" in workflow


def test_the_hooks_before_a_commit_are_the_pinned_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    revisions = {hook["repo"].split("/")[-1]: hook["rev"].removeprefix("v") for hook in hooks}
    assert revisions["ruff-pre-commit"] == pins()["ruff"]
    assert revisions["nbstripout"] == pins()["nbstripout"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this library, unpacked into an empty folder, as `pip install` would lay it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(LIBRARY, source / LIBRARY.name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps",
                    "--no-build-isolation", "--wheel-dir", built, source], check=True)
    shutil.unpack_archive(next(built.glob("*.whl")), built / "site", format="zip")
    return built / "site"


def outside(wheel, folder, *arguments):
    """Python with the unpacked wheel, in a folder that is no project."""
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True,
                          env=clean_environment() | {"PYTHONPATH": str(wheel)})


def test_a_wheel_holds_every_file_of_the_library(wheel):
    held = {str(path.relative_to(wheel)) for path in (wheel / LIBRARY.name).rglob("*")
            if path.is_file()}
    assert held == {str(path.relative_to(ROOT)) for path in LIBRARY.rglob("*")
                    if path.is_file() and path.suffix != ".pyc"}


def test_the_installed_library_needs_no_project_folder(wheel, tmp_path):
    code = "import persuasion_lib.stats as s, persuasion_lib.judging.questions; print(s.__file__)"
    assert outside(wheel, tmp_path, "-c", code).stdout.startswith(str(wheel))
    assert "usage: persuasion" in outside(
        wheel, tmp_path, "-m", "persuasion_lib.cli", "--help").stdout


def test_a_command_outside_a_project_says_what_is_missing_and_what_to_do(wheel, tmp_path):
    done = outside(wheel, tmp_path, "-m", "persuasion_lib.cli", "run")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "configs/data_config.yaml" in done.stderr and "project folder" in done.stderr


def test_every_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([\w-]+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_make_help_lists_every_target():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1).split()
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert re.findall(r"^make ([\w-]+) +\S", told, re.M) == targets


def test_the_tests_that_readme_and_ci_name_exist():
    for text in (README, (ROOT / ".ci" / "run").read_text()):
        for path in re.findall(r"ARGS=(tests/\S+?)[`\s]", text):
            assert (ROOT / path).exists(), path


def test_the_files_that_the_documentation_names_exist():
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text()
        for path in re.findall(r"`(tests/\S+?\.py)`", text):
            assert (ROOT / path).exists(), (page.name, path)
        for path in re.findall(rf"`((?:{'|'.join(ROOMS)})/\w+\.py)`", text):
            assert (ROOT / "persuasion_lib" / path).exists(), (page.name, path)


def test_every_persuasion_command_of_readme_and_documentation_is_understood():
    verbs = "run|runs|status|label|check|audit|show-config|export-data|export"
    pages = "\n".join([README, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))])
    commands = re.findall(rf"^\s*persuasion ((?:{verbs}).*)$", pages, re.M)
    assert len(commands) > 10
    for command in commands:
        arguments = shlex.split(command, comments=True)
        _parser().parse_args(arguments)


def test_the_readme_names_every_notebook_and_setting_file():
    for stage in STAGES.values():
        assert stage.notebook in README, stage.notebook
    for path in (ROOT / "configs").glob("*.yaml"):
        assert path.stem.removesuffix(".example") in README, path.name


def test_nothing_that_readme_says_stands_on_a_page_of_the_documentation_as_well():
    """Seen: a merge that keeps both sides brought back what had moved to a page."""
    for page in (ROOT / "docs").glob("*.md"):
        twice = {line for line in README.splitlines() if len(line) > 100} & {
            *page.read_text().splitlines()}
        assert not twice, (page.name, twice)


def test_ci_calls_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "make lint" in script and "make test" in script and "`make test`" in README
