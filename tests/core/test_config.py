import random
import re

import pytest
import yaml

from persuasion_lib.core.config import FILES, find_root, load_config
from persuasion_lib.core.errors import ConfigError, PersuasionError
from persuasion_lib.core.keys import api_key
from worlds.scratch import ROOT

SETTINGS = [f"{name}.{key}" for file in FILES for name, section in yaml.safe_load(
    next((ROOT / "configs").glob(f"{file}*.yaml")).read_text()).items()
    if isinstance(section, dict) for key in section]


def test_an_unknown_key_names_the_nearest_one(project):
    with pytest.raises(ConfigError, match=r"unknown setting dpo\.bta.*dpo\.beta"):
        load_config("demo", ["dpo.bta=0.2"])


def test_a_misspelt_key_in_a_file_is_not_suggested_as_its_own_correction(project):
    file = project / "configs" / "dpo_config.yaml"
    file.write_text(file.read_text().replace("  beta: ", "  bta: "))
    with pytest.raises(ConfigError, match=r"unknown setting dpo\.bta. Did you mean dpo\.beta\?"):
        load_config("demo")


def test_an_unknown_section_lists_the_sections(project):
    with pytest.raises(ConfigError, match="Sections are: .*rlaif_to_rlhf"):
        load_config("demo", ["zzz=1"])


@pytest.mark.parametrize("override", ["dpo.beta=abc", "dpo.beta=-1", "seed=one", "dpo=3",
                                      "data.source=reddit", "evaluation.models=base",
                                      "gates.val_fraction=1.5", "label_ai.both_orders=maybe"])
def test_a_wrong_type_or_value_is_refused_and_named(project, override):
    with pytest.raises(ConfigError, match=override.split("=")[0].split(".")[0]):
        load_config("demo", [override])


def test_an_override_without_equals_shows_the_form(project):
    with pytest.raises(ConfigError, match=r"dpo\.beta=0\.2"):
        load_config("demo", ["dpo.beta"])


def test_a_number_in_scientific_notation_is_a_number(project):
    assert load_config("demo", ["rlaif.learning_rate=1e-4"]).rlaif.learning_rate == 0.0001


def test_overrides_win_over_the_profile_and_the_profile_over_the_files(project):
    assert load_config("full").pairs.max_new_tokens == 256
    assert load_config("demo").pairs.max_new_tokens == 64
    assert load_config("demo", ["pairs.max_new_tokens=9"]).pairs.max_new_tokens == 9


def test_the_full_profile_has_the_sizes_of_the_experiment(project):
    data = load_config("full").data
    assert (data.ai_pairs, data.human_pairs, data.test_examples) == (2150, 200, 115)
    assert load_config("demo").data.ai_pairs == 2150


def test_an_unknown_profile_lists_those_that_exist(project):
    with pytest.raises(ConfigError, match="demo, full, small, smoke"):
        load_config("dmo")


def test_profiles_write_to_folders_of_their_own(project):
    folders = [load_config(p).folder(k) for p in ("demo", "full", "smoke")
               for k in ("data", "models", "results")]
    assert len(set(folders)) == 9


def test_another_corpus_never_writes_into_the_folders_of_the_profile(project):
    config = load_config("demo", ["data.source=persuasionforgood"])
    assert config.paths.data == "data/demo-persuasionforgood"
    own = load_config("demo", ["data.source=jsonl", "paths.data=data/mine"])
    assert own.paths.data == "data/mine"


def test_broken_yaml_names_file_and_line_but_not_the_text(project):
    (project / "configs" / "api_config.yaml").write_text("openai:\n  api_key: [sk-secret\n")
    with pytest.raises(ConfigError, match=r"api_config\.yaml:\d+ is not YAML") as error:
        load_config()
    assert "sk-secret" not in str(error.value)


def test_a_key_in_the_settings_never_reaches_the_config(project):
    key = "sk-ant-test-0123456789abcdef"
    (project / "configs" / "api_config.yaml").write_text(
        (project / "configs" / "api_config.example.yaml").read_text().replace(
            'api_key: ""', f'api_key: "{key}"', 1))
    config = load_config()
    assert key not in config.model_dump_json() and key not in repr(config)
    assert api_key(project, "anthropic") == key


def test_the_environment_wins_over_the_file(project, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-from-the-environment-123456\n")
    assert api_key(project, "openai") == "sk-from-the-environment-123456"


def test_a_missing_key_says_where_to_put_it(project):
    with pytest.raises(ConfigError, match="API key not set.*ANTHROPIC_API_KEY"):
        api_key(project, "anthropic")
    assert (project / "configs" / "api_config.yaml").exists()


def test_the_project_is_found_from_the_notebooks_folder(project):
    assert find_root(project / "notebooks") == project.resolve()


def test_outside_a_project_the_message_says_so(tmp_path):
    with pytest.raises(ConfigError, match="inside the project folder"):
        find_root(tmp_path)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_read_by_some_code(setting):
    key = setting.split(".")[1]
    if key == "api_key":
        return      # read by `api_key`, by its own test above
    sources = [p.read_text() for p in (ROOT / "persuasion_lib").rglob("*.py")
               if p.name != "config.py"]
    config = (ROOT / "persuasion_lib" / "core" / "config.py").read_text()
    read = any(re.search(rf"[.\"]{key}\b", source) for source in sources)
    assert read or f'"{key}"' in config or (
        "paths, kind" in config and setting.startswith("paths."))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_a_comment(setting):
    section, key = setting.split(".")
    lines = [line for file in (ROOT / "configs").glob("*.yaml")
             for line in file.read_text().splitlines()]
    mine = [line for line in lines if re.match(rf"\s+{key}:", line)]
    if key in ("api_key", "learning_rate", "num_epochs") or section == "judging":
        return      # explained once: by the head of the file, in the first section that has it
    assert any("#" in line for line in mine), setting


def test_a_section_under_its_earlier_name_is_read_with_a_note(project):
    config = load_config("demo", ["validate.min_train_pairs=7"])
    assert config.gates.min_train_pairs == 7
    assert any("'validate'" in note and "'gates'" in note for note in config.notes)


def test_what_is_read_is_recorded_and_what_changes_no_outcome_is_not(project):
    config = load_config("demo")
    assert config.dpo.beta and config.openai.timeout and config.paths.data
    assert config.reads.settings == {"dpo.beta"}
    assert config.peek("dpo.engine") == "shared_prefix"
    assert config.reads.settings == {"dpo.beta"}


def test_a_section_as_a_whole_counts_as_read_key_by_key(project):
    config = load_config("demo")
    assert config.section("lora") == {"lora.r": 16, "lora.alpha": 32, "lora.dropout": 0.0}
    assert config.reads.settings == {"lora.r", "lora.alpha", "lora.dropout"}


def test_a_copy_of_a_section_with_other_values_is_recorded_as_that_section(project):
    config = load_config("demo")
    assert config.pairs.model_copy(update={"temperature": 9.0}).temperature == 9.0
    assert config.reads.settings == {"pairs.temperature"}


@pytest.mark.parametrize("override, value", [
    ("data.system_prompt=Be kind #1", "Be kind #1"), ("data.system_prompt=Yes: {no}", "Yes: {no}"),
    ("data.path=@mine", "@mine"), ("data.path=%x [", "%x ["), ("data.path=null", None),
    ("data.path=12", "12"), ("model.revision=1e5", "1e5"), ("data.path=", None)])
def test_a_setting_that_is_text_takes_the_text_as_it_is(project, override, value):
    section, name = override.split("=")[0].split(".")
    assert getattr(getattr(load_config("demo", [override]), section), name) == value


def test_a_list_of_texts_is_a_list(project):
    analysis = load_config("demo", ["analysis.training_files=[a.jsonl, b]"]).analysis
    assert analysis.training_files == ["a.jsonl", "b"]


@pytest.mark.parametrize("override, words", [
    ("evaluation.models=[base", "override evaluation.models is not YAML"),
    ('dpo.beta="0.2', "override dpo.beta is not YAML"), ("dpo.beta=@x", "override dpo.beta"),
    ("dpo.beta=%x", "override dpo.beta"), ("dpo.beta={a: 1, a: 2}", "second time"),
    ("dpo.beta=2026-13-45", "override dpo.beta"), ("dpo.beta=!!bool x", "override dpo.beta"),
    ("dpo.beta=!!int", "override dpo.beta"),
    ("dpo.beta=&a [*a]", "override dpo.beta"), ("dpo.beta=" + "[" * 3000, "nested too deeply"),
    ("data=3", "data is a section"), ("paths=x", "paths is a section"),
    ("validate=3", "gates is a section"), ("seed=-1", "setting seed"),
    ("seed=true", "setting seed"),
    ("seed=99999999999999", "setting seed"), ("seed.x=1", "setting seed"),
    ("dpo.beta=true", "true or false is not what"), ("dpo.beta=.inf", "finite number"),
    ("dpo.beta=.nan", "finite number"), ("dpo.beta=1e999", "finite number"),
    ("judging.prices={m: [-1, 2]}", "greater than or equal to 0"),
    ("judging.prices={m: [.nan, 2]}", "finite number"),
    ("judging.prices={1: [1, 2]}", "must be text"),
    ("data.path=a\x07b", "control character"), ("data.path=\udce9", "control character"),
    ("=3", "is not of the form"), ("a..b=3", "is not of the form"), ("dpo.=3", "is not of")])
def test_a_mistake_on_the_command_line_is_one_sentence_with_its_key(project, override, words):
    with pytest.raises(ConfigError, match=words):
        load_config("demo", [override])


@pytest.mark.parametrize("given, beta", [(None, 0.1), ("", 0.1), ("dpo.beta=0.2", 0.2), ((), 0.1)])
def test_overrides_may_be_one_text_or_nothing_as_papermill_gives_them(project, given, beta):
    assert load_config("demo", given).dpo.beta == beta
    assert load_config("demo", given).overrides == ((given,) if given else ())


@pytest.mark.parametrize("given", [3, [3], {"dpo.beta": 0.2}, [None]])
def test_overrides_of_another_shape_are_refused_with_the_form(project, given):
    with pytest.raises(ConfigError, match=r"overrides must be a list of texts such as"):
        load_config("demo", given)


@pytest.mark.parametrize("content, words", [
    ("dpo:\n  beta: 0.1\n  beta: 0.2\n", r"yaml:3 .*second time"),
    ("dpo: 3\n", "dpo is a section"),
    ("dpo: {beta: high}\n", r"setting dpo.beta: .*got 'high' .*smoke.yaml"),
    ("1: {a: 2}\n", r"yaml:1 .*a name must be text"), ("on: {a: 2}\n", "a name must be text"),
    ("dpo: &a {beta: *a}\n", "name is not read here"), ("- dpo\n", "must hold `section:`"),
    ("dpo: \x07\n", r"yaml:1 .*a control character"), ("x" * 9 + ": [\n", r"yaml:\d is not YAML"),
    ("extends: smoke\n", "goes in a circle .smoke → smoke"),
    ("extends: nobody\n", "no profile 'nobody'"),
    ("extends: [a]\n", "no profile"), (b"dpo: {engine: caf\xe9}\n", r"yaml:1 is not UTF-8"),
    ("dpo: {}\n".encode("utf-16"), "is UTF-16"), (b"dpo: {engine: \"a\\0b\"}\n", "control")])
def test_a_mistake_in_a_settings_file_is_one_sentence_with_the_file(project, content, words):
    file = project / "configs" / "profiles" / "smoke.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=words):
        load_config("smoke")


def test_a_section_with_nothing_below_it_says_nothing(project):
    (project / "configs" / "api_config.yaml").write_text("anthropic:\nopenai:\n")
    assert load_config("demo").anthropic.model
    with pytest.raises(ConfigError, match="API key not set for anthropic"):
        api_key(project, "anthropic")


@pytest.mark.parametrize("content", ["anthropic: sk-ant-0123456789abcdef0123\n",
                                     "anthropic:\n  sk-ant-0123456789abcdef0123: x\n",
                                     "anthropic:\n  max_tokens: sk-ant-0123456789abcdef0123\n",
                                     "anthropic: [sk-ant-0123456789abcdef0123\n"])
def test_a_key_in_the_wrong_place_is_not_printed(project, content):
    (project / "configs" / "api_config.yaml").write_text(content)
    with pytest.raises(ConfigError) as error:
        load_config("demo")
    assert "anthropic" in str(error.value) or "api_config.yaml:" in str(error.value)
    assert "0123456789" not in str(error.value)


@pytest.mark.parametrize("content", ["anthropic: x\n", "anthropic: {api_key: [1, 2]}\n",
                                     "anthropic: {api_key: 5}\n", "anthropic: {api_key: null}\n"])
def test_a_key_file_of_another_shape_is_one_sentence(project, content):
    (project / "configs" / "api_config.yaml").write_text(content)
    with pytest.raises(ConfigError):
        api_key(project, "anthropic")


def test_a_dotenv_in_another_encoding_is_named(project):
    (project / ".env").write_bytes("ANTHROPIC_API_KEY=café".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"\.env:1 is not UTF-8"):
        api_key(project, "anthropic")


def test_random_overrides_load_or_end_in_one_sentence(project):
    chance = random.Random(5)
    signs = list("[]{}:,#&*!|>%@`'\"-?=. \t\n0127eE_~")
    signs += ["true", "null", ".inf", "é", "\ud800", "\0"]
    for _ in range(30):
        key = chance.choice([*SETTINGS, "seed", "data", "zzz"])
        value = "".join(chance.choice(signs) for _ in range(chance.randint(0, 6)))
        try:
            load_config("demo", [f"{key}={value}"])
        except PersuasionError as error:
            assert "\n" in str(error) or len(str(error)) < 1000


def test_the_home_of_a_user_who_is_not_here_is_one_sentence(project):
    config = load_config("demo", ["data.path=~nobody-here/x",
                                  "analysis.training_files=[~nobody-here]"])
    for read in (lambda: config.named_file("data.path"),
                 lambda: config.named_files("analysis.training_files")):
        with pytest.raises(ConfigError, match="user who is not here"):
            read()


def test_a_null_is_called_by_the_place_that_says_it():
    with pytest.raises(ConfigError, match=r"dpo.beta: .*got None \(override dpo.beta\)"):
        load_config("demo", ["dpo.beta=null"])
    assert load_config("demo", ["data.path=null"]).place_of("data.path") == "override data.path"
