"""Any runs beside each other: what differs, what may be compared, and what is refused."""

import copy

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, MissingInput
from persuasion_lib.core.manifest import content_hash
from persuasion_lib.core.store import write_json, write_text
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


def evaluated(project, name, change=lambda data: None, home="results/demo/runs"):
    data = copy.deepcopy(SAME)
    change(data)
    return write_json(project / home / name / "final_evaluation.json", data)


def record(project, name, verdicts, anchor="sft", **fields):
    """What a study found of rlhf in a run, for the prompts in their order."""
    path = project / f"results/demo/runs/{name}/final_evaluation.json"
    ids = [row["example_id"] for row in SAME["per_example"]]
    return write_json(project / f"results/demo/studies/own/cells/{name}.json", {
        "anchors": [anchor], "arms": ["rlhf"], "evaluation": content_hash(path), "open": {},
        "scores": [{"arm": "rlhf", "anchor": anchor, "example_id": key, "judge": verdict}
                   for key, verdict in zip(ids, verdicts, strict=False)]} | fields)


def test_means_beside_each_other_are_of_the_same_prompts(project):
    """The judge lost 20 verdicts of b, all of them 0: on the other 20 prompts both won 1."""
    for name, verdicts in (("a", [1.0] * 20 + [0.0] * 20), ("b", [1.0] * 20 + [None] * 20)):
        evaluated(project, name)
        record(project, name, verdicts)
    found = compare(load_config("demo"), ["a", "b"])
    assert found.means.iloc[0][["a", "b"]].tolist() == [1, 1] and found.pairs.empty
    assert "20 of 40 prompts for rlhf, win rate against sft: one of the runs" in str(found)


def test_the_difference_from_the_first_run_is_from_no_other(project):
    def without(data):
        for row in data["per_example"]:
            del row["similarity_scores"]["rlhf"]

    for name, change in (("a", without), ("b", lambda data: None), ("c", better)):
        evaluated(project, name, change)
    found = compare(load_config("demo"), ["a", "b", "c"])
    assert found.pairs.empty and len(found.means.columns) == 5
    assert "Paired differences of rlhf, similarity to the oracle: a, the first run" in str(found)
    assert compare(load_config("demo"), ["b", "c", "a"]).pairs["run"].tolist() == ["c"]


def test_a_run_is_found_from_its_own_folder_and_the_one_above_it(project, monkeypatch):
    for name in "ab":
        evaluated(project, name)
        record(project, name, [1.0] * 40)
    for folder, given in (("runs", ["a", "b"]), ("runs/a", [".", "../b"])):
        monkeypatch.chdir(project / "results/demo" / folder)
        means = compare(load_config("demo"), given).means
        assert means["measure"].tolist()[0] == "win rate against sft" and {*"ab"} < {*means}


def test_a_folder_that_is_no_run_hides_no_run_of_its_name(project):
    (project / "a").mkdir()
    for name in "ab":
        evaluated(project, name)
    assert compare(load_config("demo"), ["a", "b"]).differs.empty


@pytest.mark.parametrize("anchor, asked", [("base", None), ("oracle", "oracle"),
                                           ("another rlhf", None), ("another rlhf", "rlhf")])
def test_the_anchor_is_the_one_that_the_runs_were_compared_with(project, anchor, asked):
    for name in "ab":
        evaluated(project, name)
        record(project, name, [1.0] * 40, anchor)
    found = compare(load_config("demo"), ["a", "b"], anchor=asked)
    assert f"win rate against {anchor}" in found.means["measure"].tolist()


def test_a_trained_anchor_must_be_the_same_training(project):
    for name in "ab":
        evaluated(project, name)
        record(project, name, [1.0] * 40, "another rlhf", anchor_evaluation=name)
    found = str(compare(load_config("demo"), ["a", "b"]))
    assert "another rlhf is another training in one of the runs" in found
    assert "win rate against" not in found


def test_an_anchor_that_is_none_or_cannot_be_asked_about_is_refused(project, capsys):
    for name in "ab":
        evaluated(project, name)
        record(project, name, [1.0] * 40, "base")
    assert main(["compare", "a", "b", "--anchor", "rlhf", "--ask"]) == 1
    assert "another rlhf is in no run that is compared" in capsys.readouterr().err
    assert main(["compare", "a", "b", "--anchor", "sft"]) == 0
    assert "replies with those of sft (--anchor base has some)" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no anchor 'human'. There are: oracle, base"):
        compare(load_config("demo"), ["a", "b"], anchor="human")


@pytest.mark.parametrize("name", ["model", "measure", "what", "kind"])
def test_a_run_may_be_called_as_a_column_of_the_tables(project, name):
    for each, beta in ((name, 0.1), ("b", 0.3)):
        evaluated(project, each)
        write_json(project / f"results/demo/runs/{each}/manifests/05_evaluate.json",
                   {"settings": {"dpo.beta": beta}})
    found = compare(load_config("demo"), [name, "b"])
    assert found.differs.iloc[0].tolist() == ["setting", "dpo.beta", "0.1", "0.3"]
    assert found.means.columns.tolist() == ["measure", "model", f"{name} (2)", "b"]


DAMAGED = ["null", "[]", '{"scores": 1', '"text"', '{"inputs": []}']


@pytest.mark.parametrize("text", [*DAMAGED, "{}", '{"scores": "abc"}'])
def test_a_damaged_record_is_named_and_the_similarities_are_compared(project, text):
    for name in "ab":
        evaluated(project, name)
        record(project, name, [1.0] * 40)
    file = project / "results/demo/studies/own/cells/b.json"
    write_text(file, text)
    found = compare(load_config("demo"), ["a", "b"])
    assert f"{file} is " in found.refused[0] or f"{file}:" in found.refused[0]
    assert "similarity to the oracle" in found.means["measure"].tolist()


def test_a_verdict_that_is_no_number_from_0_to_1_is_named(project):
    for name in "ab":
        evaluated(project, name)
    for verdict in ("abc", 7, True):
        record(project, "b", [verdict])
        found = compare(load_config("demo"), ["a", "b"])
        assert f"cells/b.json is no record of a study's cell (scores.0.judge is {verdict!r})" in (
            found.refused[0])


@pytest.mark.parametrize("place", ["manifests/05_evaluate.json", "final_evaluation.json"])
@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_run_is_named_and_the_others_are_compared(project, place, text, capsys):
    for name in "abc":
        evaluated(project, name)
    file = project / "results/demo/runs/b" / place
    write_text(file, text)
    found = compare(load_config("demo"), ["a", "b", "c"])
    assert str(file) in found.refused[0] and {*found.means} == {"measure", "model", "a", "c"}
    assert main(["compare", "a", "b"]) == 1
    said = capsys.readouterr().err
    assert str(file) in said and "Two runs are needed" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("said", [None, [], "b", {"name": 3, "settings": [], "versions": "1"}])
def test_what_an_evaluation_says_of_its_run_in_another_form_is_left_out(beside, said):
    found = beside(lambda data: data["config"].update(run=said, judge={}, asked_models=[]))
    assert found.differs["what"].tolist()


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
    with pytest.raises(ConfigError, match="Two runs are needed"):
        compare(load_config("demo"), ["one"])
