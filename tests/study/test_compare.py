"""Any runs beside each other: what differs, what may be compared, and what is refused."""

import copy

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, MissingInput
from persuasion_lib.core.store import write_json
from persuasion_lib.study.compare import compare
from persuasion_lib.study.run import run_study
from worlds.study_world import Notebooks, study_of
from worlds.synthetic_evaluation import make_evaluation

SAME = make_evaluation(40)
SAME["config"] |= {"weights": {"sft": "s", "rlhf": "a"},
                   "asked_models": {"judge": "offline/stand-in"},
                   "run": {"name": None, "settings": {"dpo.beta": 0.1}, "revision": "abc"}}
for number, row in enumerate(SAME["per_example"]):
    row |= {"similarity_scores": {"sft": 0.5, "rlhf": 0.6}, "oracle": f"oracle {number}"}


@pytest.fixture
def beside(project):
    """A function that compares one run with another that was changed."""
    def run(change=lambda data: None, **how):
        other = copy.deepcopy(SAME)
        change(other)
        for folder, data in (("one", SAME), ("other", other)):
            write_json(project / folder / "final_evaluation.json", data)
        return compare(load_config("demo"), ["one", "other"], **how)

    return run


def better(data):
    """rlhf comes closer to the oracle by .1 on every second prompt: .05 on average."""
    for row in data["per_example"][::2]:
        row["similarity_scores"]["rlhf"] = 0.7


def test_a_paired_difference_has_an_interval_around_it(beside):
    found = beside(better).pairs
    row = found.iloc[0]
    assert len(found) == 1 and (row["run"], row["model"], row["prompts"]) == ("other", "rlhf", 40)
    assert row["difference"] == pytest.approx(0.05)
    assert 0.03 < row["ci_low"] < 0.05 < row["ci_high"] < 0.07


def test_settings_code_and_weights_that_differ_are_listed_and_no_others(beside):
    def change(data):
        data["config"]["run"] |= {"settings": {"dpo.beta": 0.3}, "revision": "def"}
        data["config"]["weights"] = {"sft": "s", "rlhf": "b"}

    found = beside(change).differs.set_index("what")
    assert found.loc["dpo.beta", ["one", "other"]].tolist() == ["0.1", "0.3"]
    assert set(found.index) == {"dpo.beta", "revision", "rlhf"}


def test_what_an_evaluation_read_of_models_is_no_data(project):
    for name, sha in (("a", "1" * 64), ("b", "2" * 64)):
        home = project / "results/demo/runs" / name
        write_json(home / "final_evaluation.json", SAME)
        write_json(home / "manifests/05_evaluate.json", {"inputs": {"rlhf": sha, "test": sha}})
    differs = compare(load_config("demo"), ["a", "b"]).differs.set_index("what")
    assert differs["kind"].to_dict() == {"test": "data"}


def test_the_run_without_a_name_is_called_by_its_profile(project):
    write_json(project / "results/demo/final_evaluation.json", SAME)
    write_json(project / "results/demo/runs/b/final_evaluation.json", SAME)
    assert set(compare(load_config("demo"), ["demo", "b"]).means.columns) >= {"demo"}


def test_equal_runs_differ_in_nothing(beside):
    found = beside()
    assert found.differs.empty and found.pairs.empty
    assert "nothing that the folders tell" in str(found)


def other_judge(data):
    data["config"]["asked_models"] = {"judge": "anthropic/claude"}


def real_judge(data):
    data["config"]["judge"] = "anthropic"


def other_prompts(data):
    for row in data["per_example"]:
        row["example_id"] += "x"


def half_of_the_prompts(data):
    del data["per_example"][20:]


def other_texts(data):
    for row in data["per_example"][:10]:
        row["prompt"] += " Or not?"


def other_field(data):
    data["config"]["weights"] = {"sft": "s", "rlhf": "b"}


def other_embedder(data):
    data["config"]["embedder"] = "openai"


@pytest.mark.parametrize("change, said", [
    (other_judge, "other judges (one: offline/stand-in; other: anthropic/claude)"),
    (real_judge, "stand-ins played in some of the runs and not in others"),
    (other_prompts, "0 are shared, left out are one: 40; other: 40"),
    (half_of_the_prompts, "20 are shared, left out are one: 20; other: 0"),
    (other_texts, "30 are shared"), (other_field, "the sum of ranks is the same"),
    (other_embedder, "stand-ins played in some")])
def test_what_may_not_be_compared_is_refused_with_its_reason(beside, change, said):
    assert said in str(beside(change))


@pytest.mark.parametrize("change", [other_judge, real_judge, other_prompts])
def test_then_no_score_stands_there(beside, change):
    found = beside(change)
    assert found.means.empty and found.pairs.empty


def test_asking_the_judge_gives_win_rates_against_the_anchor(beside):
    def as_sft(data):
        for row in data["per_example"]:
            row["responses"]["rlhf"] = row["responses"]["sft"]

    assert not any("win rate" in measure for measure in beside(as_sft).means["measure"])
    means = beside(as_sft, ask=True).means.set_index(["measure", "model"])
    assert means.loc[("win rate against sft", "rlhf"), "other"] == 0.5
    assert means.loc[("win rate against sft", "rlhf"), "one"] != 0.5


def test_an_anchor_that_replied_otherwise_is_no_yardstick(beside):
    def change(data):
        for row in data["per_example"][:10]:
            row["responses"]["sft"] += " And so on."

    assert "10 of 40 shared prompts against sft: it replied otherwise" in str(
        beside(change, ask=True))


def test_asking_another_judge_than_theirs_is_refused(beside):
    def both_by(data):
        data["config"]["asked_models"] = SAME["config"]["asked_models"]

    with pytest.raises(ConfigError, match="was judged by offline/stand-in, and these settings"):
        write = load_config("demo", ["evaluation.judge=mine", "servers.mine.base_url="
                            "http://localhost:1/v1", "servers.mine.model=m",
                            "servers.mine.price=[0, 0]"])
        beside(both_by)
        compare(write, ["one", "other"], ask=True)


def test_cells_of_a_study_are_compared_by_what_it_found(project, monkeypatch, capsys):
    Notebooks(monkeypatch)
    run_study(study_of(project))
    assert main(["compare", "small.25.s1", "small.50.s1"]) == 0
    said = capsys.readouterr().out
    assert "win rate against sft" in said and "small.25.s1" in said


def test_cells_of_a_rehearsal_and_of_a_trial_are_found_by_name(project, monkeypatch, capsys):
    Notebooks(monkeypatch)
    for kind in (["model.base=some/model"], ["evaluation.max_examples=12"]):
        run_study(study_of(project, *kind, name=f"of{len(kind[0])}"))
        assert main(["compare", f"of{len(kind[0])}.25.s1", f"of{len(kind[0])}.50.s1"]) == 0
        assert "win rate against sft" in capsys.readouterr().out


def test_a_trial_below_a_run_is_described_by_its_own_manifests(project):
    home, trial = project / "one", project / "one" / "trial" / "rehearsal"
    for folder, beta in ((home, 0.1), (trial, 0.3)):
        write_json(folder / "final_evaluation.json", SAME)
        kind = "-".join(folder.relative_to(home).parts)
        name = ".".join(filter(None, ("05_evaluate", kind, "json")))
        write_json(home / "manifests" / name, {"settings": {"dpo.beta": beta}})
    found = compare(load_config("demo"), ["one", "one/trial/rehearsal"]).differs
    assert found.set_index("what").loc["dpo.beta"].tolist()[1:] == ["0.1", "0.3"]


def test_a_run_that_is_not_there_is_named(project):
    with pytest.raises(MissingInput, match="'nowhere' is neither a folder"):
        compare(load_config("demo"), ["nowhere", "nowhere"])


def test_one_run_is_not_enough(project):
    write_json(project / "one" / "final_evaluation.json", SAME)
    with pytest.raises(ConfigError, match="two runs are needed"):
        compare(load_config("demo"), ["one"])
