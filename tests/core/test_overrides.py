"""Settings that travel: one text, a list, the file of a run, another project folder."""

import pytest

from persuasion_lib.core.config import find_root, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.overrides import file_of_run, keep_for_run, listed


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


def test_a_run_belongs_to_one_profile(project):
    keep_for_run(project, "b", "smoke", ["dpo.beta=0.2"])
    with pytest.raises(ConfigError, match="the run b has the profile 'smoke'.*'demo' was asked"):
        load_config("demo", "name=b")
    assert file_of_run(project, "b").parent.name == "runs"


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
