"""Settings that travel: one text, a list, the file of a run, another project folder."""

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.config import find_root, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.overrides import keep_for_run, listed
from persuasion_lib.core.store import write_text


@pytest.mark.parametrize("given", [
    "dpo.beta=0.2", ["dpo.beta=0.2"], "[dpo.beta=0.2]", '["dpo.beta=0.2"]', ("dpo.beta=0.2",)])
def test_papermill_may_give_one_text_or_a_list_as_a_text(project, given):
    assert load_config("demo", given).dpo.beta == 0.2


def test_a_run_is_known_by_its_name_alone_once_it_was_begun(project):
    given = ["name=b", "dpo.beta=0.2", "data.system_prompt=Be kind: it's #1", "dpo.beta=0.3"]
    keep_for_run(project, "b", "demo", given)
    config = load_config("demo", "name=b")
    assert (config.dpo.beta, config.data.system_prompt) == (0.3, "Be kind: it's #1")
    assert load_config("demo", ["name=b", "dpo.beta=0.5"]).dpo.beta == 0.5
    assert load_config("demo").dpo.beta == 0.1
    assert load_config("demo", config.overrides).flat() == config.flat()


def test_a_run_without_settings_of_its_own_has_a_file_too(project):
    keep_for_run(project, "again", "demo", ["name=again", "replace=true"])
    assert load_config("demo", "name=again").overrides == ("name=again",)


def test_two_profiles_have_a_run_of_the_same_name_each(project):
    keep_for_run(project, "b", "demo", ["dpo.beta=0.2"])
    keep_for_run(project, "b", "smoke", ["dpo.beta=0.3"])
    assert load_config("demo", "name=b").dpo.beta == 0.2
    assert load_config("smoke", "name=b").dpo.beta == 0.3


def test_a_run_of_an_earlier_version_is_that_of_its_profile_and_hinders_no_other(project):
    write_text(project / "configs/runs/b.yaml", "profile: smoke\noverrides:\n  - dpo.beta=0.2\n")
    assert load_config("smoke", "name=b").dpo.beta == 0.2
    assert load_config("demo", "name=b").dpo.beta == 0.1
    keep_for_run(project, "b", "demo", ["dpo.beta=0.4"])
    keep_for_run(project, "b", "smoke", ["dpo.beta=0.3"])
    assert load_config("smoke", "name=b").dpo.beta == 0.3
    assert load_config("demo", "name=b").dpo.beta == 0.4


def test_a_run_that_only_another_profile_has_is_new_here_and_that_is_said(project, capsys):
    keep_for_run(project, "b", "smoke", ["dpo.beta=0.2"])
    assert main(["status", "--name", "b"]) == 0
    assert capsys.readouterr().err == (
        "note: the run b of the profile demo is new; there is one of smoke (--profile smoke).\n")
    assert main(["status", "--name", "b", "--profile", "smoke"]) == 0
    assert main(["status", "--name", "c"]) == 0 and capsys.readouterr().err == ""


def test_every_value_says_where_it_is_from(project):
    config = load_config("demo", ["dpo.beta=0.2"])
    assert config.place_of("dpo.beta") == "override dpo.beta"
    assert config.place_of("dpo.max_length").endswith("configs/profiles/demo.yaml")
    assert config.place_of("dpo.ties").endswith("configs/dpo_config.yaml")


def test_the_project_may_be_named_from_elsewhere(project, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ConfigError, match="data_config.yaml"):
        find_root()
    monkeypatch.setenv("PERSUASION_ROOT", str(project))
    assert find_root() == project and load_config("demo").root == project


def test_what_is_no_list_of_texts_is_refused(project):
    with pytest.raises(ConfigError, match="must be a list of texts"):
        listed({"dpo.beta": 0.2})
