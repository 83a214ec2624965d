"""Each threat planted in a copy of clean files: the audit names it, and clean files are silent.

A row is: the file, how one row of it is changed (or all of them), the check that must speak, and
whether it stops.
"""

import json
import math
import random
import shutil

import pytest

from persuasion_lib.analysis import audited
from persuasion_lib.checks import audit as audit_of
from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.records import LabeledPair, Pair, labeled_row, parse_example
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.reporting import judge_health
from worlds.clean_world import write_world
from worlds.scratch import ROOT, SHARED_DATA

STOPS, WARNS = "stop", "warn"
AI, PERSON, POOL = ("ai_pool_labeled.jsonl", "human_pool_labeled.jsonl",
                    "human_pool_responses.jsonl")
EVENTS, LOG, EVALUATION = "human_events.me.jsonl", "ai_judgments.jsonl", "final_evaluation.json"
MODELS = ["base", "sft", "rlhf", "rlaif", "rlaif_rlhf"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("clean"))


def audit(*paths, rankings=True):
    """All checks; `rankings` says whether evaluations are analysed as well, which takes a while."""
    config = load_config("demo", root=ROOT)
    if rankings:
        return audited(config, paths)
    findings, notes = audit_of.audit(audit_of.gather(paths), config, {})
    return findings, audit_of.as_table(findings, notes)


def found(findings, *states):
    return {finding.check for finding in findings if finding.state in states}


def each(change):
    """Every row changed in its place: `change(row, number)`."""
    def all_of(rows):
        for number, row in enumerate(rows):
            change(row, number)
        return rows
    return all_of


def meta(**values):
    """Fields of the metadata of every row; a function gets (row, number)."""
    def change(row, number):
        row["metadata"].update({k: v(row, number) if callable(v) else v
                                for k, v in values.items()})
    return each(change)


def prefer(choose):
    """Every label as `choose(response_1, response_2)`, "1" or "2", says."""
    def change(row, number):
        old = row["metadata"]["preference"]
        texts = (row["rejected"], row["chosen"]) if old == "2" else (row["chosen"], row["rejected"])
        code = choose(*texts)
        chosen, rejected = texts if code == "1" else texts[::-1]
        row.update(chosen=chosen, rejected=rejected)
        row["metadata"].update(preference=code, is_equal=False)
        row["metadata"].pop("relabelled", None)
    return each(change)


def on_screen(side):
    """Every pair answered for one side of the screen (0 first, 1 second)."""
    def change(row, number):
        code = "12"[side != row["metadata"]["shown_swapped"]]
        return prefer(lambda a, b: code)([row])
    return each(change)


def verdicts(code, *, orders=("12",)):
    """A judge that says `code` in every order that it is asked in."""
    def change(row, number):
        given = dict.fromkeys(orders, code)
        label = code if orders == ("12",) else "EQUAL"
        prefer(lambda a, b: label if label in "12" else "1")([row])
        row["metadata"].update(verdicts=given, flip=len(orders) > 1, judgments=[],
                               is_equal=label == "EQUAL", preference=label)
    return each(change)


def event(**values):
    return each(lambda row, number: row.update(
        {k: v(row, number) if callable(v) else v for k, v in values.items()}))


def again(rows, *, swap, contradict):
    """The first twenty rows once more, under other ids, perhaps the other way round."""
    for row in json.loads(json.dumps(rows[:20])):
        row["metadata"]["pair_id"] += "x"
        if "chosen" in row and (swap != contradict):
            old = row["metadata"]["preference"]
            row["metadata"]["preference"] = {"1": "2", "2": "1"}.get(old, old)
        if "chosen" in row and contradict and not row["metadata"]["is_equal"]:
            row.update(chosen=row["rejected"], rejected=row["chosen"])
        if "response_1" in row and swap:
            row.update(response_1=row["response_2"], response_2=row["response_1"])
        rows.append(row)
    return rows


def few_threads(rows):
    return meta(conversation_id=lambda row, n: f"c{n % 3}" if n > 20 else f"d{n}")(rows)


def cut_off(text):
    """The first six tenths of a text, wherever that is."""
    return text[:int(len(text) * 0.6)]


def text(change, *, share=1.0, sides=("response_1", "response_2")):
    def one(row, number):
        if number % 100 < share * 100:
            row.update({side: change(row[side]) for side in sides})
    return each(one)


def replies(change, *models):
    """The replies of models, changed by `change(text, number)`."""
    def all_of(content):
        for number, row in enumerate(content[0]["per_example"]):
            for model in models or MODELS:
                row["responses"][model] = change(row["responses"][model], number)
        return content
    return all_of


def rows(change):
    """The examples of the evaluation: `change(row, number)`, or the whole list."""
    def all_of(content):
        for number, row in enumerate(content[0]["per_example"]):
            change(row, number)
        return content
    return all_of


def replies_of_rows(reply, model):
    """The replies of one model as `reply(row)` says."""
    return rows(lambda row, number: row["responses"].update({model: reply(row)}))


def rank(choose):
    """Every ranking as `choose(ranking, shown, row)` says."""
    def change(row, number):
        for call in row["judgments"]:
            shown = list(call["position_map"].values())
            call["ranking"] = choose(call["ranking"], shown, row)
    return rows(change)


def shifted(*models):
    def all_of(content):
        examples = content[0]["per_example"]
        for model in models:
            texts = [row["responses"][model] for row in examples]
            for row, other in zip(examples, texts[1:] + texts[:1], strict=True):
                row["responses"][model] = other
        return content
    return all_of


def controls(change):
    def all_of(content):
        for row in content[0]["controls"]:
            change(row)
        return content
    return all_of


def of_two_models(content):
    """The judge of the rankings was exchanged at its server, as 05 found in the log."""
    content[0]["config"]["answered_by"] = {"mine/any, rank_judgments.jsonl": {"one": 150, "two": 9}}
    return content


def twice(content):
    examples = content[0]["per_example"]
    for number, row in enumerate(json.loads(json.dumps(examples[:5]))):
        examples.append(row | {"example_id": f"copy{number}"})
    return content


def as_base(content):
    return replies(lambda t, n: "lol ok whatever u say dude, " + t.lower(),
                   "base", "rlhf", "rlaif", "rlaif_rlhf")(content)


def mixed(rows):
    """Every verdict of the log turned round, but not the reply that it was read from."""
    for row in rows:
        row["verdict"]["choice"] = {"1": "2", "2": "1"}.get(row["verdict"]["choice"], "EQUAL")
    return rows


def exchanged(row, number):
    """Chosen and rejected exchanged and nothing else: the other reply is preferred."""
    row.update(chosen=row["rejected"], rejected=row["chosen"])


def voted(*names, against=False):
    """Votes of people beside every label: what it says, or something else."""
    def votes(row, number):
        code = row["metadata"]["preference"]
        code = {"1": "2", "2": "1", "EQUAL": "1"}[code] if against else code
        return [{"annotator": name, "preference": code} for name in names]
    return meta(given=votes, labels_from="majority")


def unseen_twins(rows):
    """Twenty rows again under other ids, with a sign that nobody sees and the other one chosen."""
    twins = json.loads(json.dumps([row for row in rows if not row["metadata"]["is_equal"]][:20]))
    for row in twins:
        row["metadata"]["pair_id"] += "x"
        row.update(chosen=row["rejected"] + "\u200b", rejected=row["chosen"])
    return rows + twins


def logged(**values):
    """A log of DPO that begins as it must, and then has these values."""
    first = {"step": 0, "eval_loss": 0.6931, "eval_rewards/chosen": 0.0}
    return lambda content: [{"history": [first, *(
        {"step": step, "loss": 0.6, "rewards/chosen": 0.2} | values
        for step in range(10, 70, 10))]}]


COIN = random.Random(0)
THREATS = {
    # the pools
    "few conversations": (POOL, few_threads, "few conversations supply the pairs", WARNS),
    "the same pair under another id": (
        POOL, lambda r: again(r, swap=False, contradict=False), "the same pair twice", WARNS),
    "the same pair with exchanged sides": (
        POOL, lambda r: again(r, swap=True, contradict=False), "the same pair twice", WARNS),
    "contradicting labels": (
        PERSON, lambda r: again(r, swap=False, contradict=True), "contradicting labels", STOPS),
    "contradicting labels, sides exchanged": (
        PERSON, lambda r: again(r, swap=True, contradict=True), "contradicting labels", STOPS),
    "most rows held out": ("rlaif_val.jsonl", lambda r: r * 12, "too many held out", STOPS),
    "nothing left to train on": ("rlhf_train.jsonl", lambda r: [], "too many held out", STOPS),
    "conversations on both sides": (
        "rlhf_val.jsonl", meta(conversation_id="demo-0-00258"), "conversations on both sides",
        STOPS),
    "ties trained on": (
        "rlaif_train.jsonl", meta(is_equal=lambda r, n: n % 4 > 0), "ties trained on", STOPS),
    "ties by the dozen": (AI, meta(is_equal=lambda r, n: n % 4 > 0), "tie share", STOPS),
    "a pool labelled in part": (PERSON, lambda r: r[:61], "pairs without a label", WARNS),
    "labels of edited texts": (
        PERSON, each(lambda r, n: n < 9 and r.update(chosen=r["chosen"] + " So there!")),
        "labels of other texts", STOPS),
    "test prompts in SFT": (
        "sft_train.jsonl", meta(conversation_id=lambda r, n: f"demo-0-00{340 + n % 60}"),
        "conversations in two sets", STOPS),
    "chosen and rejected exchanged in a split": (
        "rlaif_train.jsonl", each(exchanged), "a split against its labels", STOPS),
    "a split of other labels": (
        "rlhf_train.jsonl", prefer(lambda a, b: COIN.choice("12")), "a split against its labels",
        STOPS),
    "rows of a split three times": ("rlhf_train.jsonl", lambda r: r * 3, "a row twice in a split",
                                    WARNS),
    "twins that differ by a sign nobody sees": (
        PERSON, unseen_twins, "contradicting labels", STOPS),
    "a twin with other quotes": (
        POOL, lambda r: r + [row | {"response_1": row["response_1"].replace(".", " …"),
                                    "metadata": {"pair_id": "twin"}} for row in r[:1]],
        "the same pair twice", WARNS),
    # people
    "labels against their votes": (
        PERSON, voted("ann", "ben", "cleo", against=True), "labels against their votes", STOPS),
    "two people with one answer": (PERSON, voted("ann", "ben"), "two people, one answer", WARNS),
    "always the same seconds": (PERSON, meta(seconds=30.0), "always the same seconds", WARNS),
    "the shorter reply": (PERSON, prefer(lambda a, b: "12"[len(b) < len(a)]),
                          "the longer reply always wins", STOPS),
    "answers faster than reading": (
        PERSON, meta(seconds=0.4), "answers faster than reading", STOPS),
    "a third read nothing": (
        PERSON, meta(seconds=lambda r, n: 0.2 if n % 3 == 0 else 30), "answers faster than reading",
        STOPS),
    "always the left side": (PERSON, on_screen(0), "always one side of the screen", STOPS),
    "always the right side": (PERSON, on_screen(1), "always one side of the screen", STOPS),
    "always response 1": (PERSON, prefer(lambda a, b: "1"), "always one place of the file", WARNS),
    "the longer reply": (PERSON, prefer(lambda a, b: "12"[len(b) > len(a)]),
                         "the longer reply always wins", STOPS),
    "a coin": (PERSON, meta(relabelled=lambda r, n: COIN.choice(["1", "2"]),
                            preference=lambda r, n: r["metadata"]["preference"]),
               "self-agreement at chance", STOPS),
    "seconds in the log": (EVENTS, event(seconds=0.7), "answers within two seconds", STOPS),
    "one key": (EVENTS, event(choice="first"), "always the same key", STOPS),
    "left and right by turns": (
        EVENTS, event(choice=lambda r, n: ["first", "second"][n % 2]), "left and right by turns",
        STOPS),
    "obvious pairs failed": (
        EVENTS, event(preferred=lambda r, n: "b" if r["kind"] == "check" else r["preferred"]),
        "obvious pairs failed", STOPS),
    "one time for every answer": (EVENTS, event(seconds=30.0), "always the same seconds (log)",
                                  WARNS),
    "answers in less than no time": (
        EVENTS, event(seconds=lambda r, n: -3.0 if n == 7 else r["seconds"]),
        "seconds against the clock", WARNS),
    "more seconds than the clock ran": (EVENTS, event(seconds=lambda r, n: 20 * r["seconds"]),
                                        "seconds against the clock", WARNS),
    "labels in less than no time": (
        PERSON, meta(seconds=lambda r, n: -3.0 if n == 7 else r["metadata"]["seconds"]),
        "seconds that cannot be", WARNS),
    "a person who is called a stand-in": (PERSON, meta(stand_in=True), "stand-in or person", WARNS),
    "a stand-in that is called a person": (
        PERSON, meta(grader="human", seconds=None, guidelines="hash"), "stand-in or person", WARNS),
    # judges
    "one verdict": (AI, verdicts("1", orders=("12", "21")), "one verdict whatever the content",
                    STOPS),
    "always first in one order": (AI, verdicts("1"), "the place decides", STOPS),
    "always second in one order": (AI, verdicts("2"), "the place decides", STOPS),
    "always equal": (AI, verdicts("EQUAL", orders=("12", "21")),
                     "one verdict whatever the content", STOPS),
    "the judge counts characters": (AI, prefer(lambda a, b: "12"[len(b) > len(a)]),
                                    "the longer reply always wins", STOPS),
    "labels against their verdicts": (
        AI, meta(verdicts=lambda r, n: {"12": "2", "21": "1"} if n < 12 else
                 r["metadata"]["verdicts"]), "labels against their verdicts", STOPS),
    "a judge that changed half-way": (
        AI, meta(judge_model=lambda r, n: f"judge-{1 + (n > 100)}"), "the judge changed", WARNS),
    "a log of two models": (LOG, event(model=lambda r, n: f"judge-{1 + (n > 100)}"),
                            "the judge changed (log)", WARNS),
    "an evaluation by two models of one name": (
        EVALUATION, of_two_models, "the judge changed (evaluation)", WARNS),
    "one stored reply": (LOG, event(reply='{"choice": "1"}', verdict={"choice": "1"}),
                         "the same reply to every question", STOPS),
    "a cache answers": (LOG, event(request_id="req_1"), "replies out of a cache", WARNS),
    "verdicts read upside down": (LOG, mixed, "verdicts against their reply", STOPS),
    "labels of another log": (LOG, mixed, "labels against the log", STOPS),
    "one order of the models": (EVALUATION, rank(lambda r, s, row: MODELS[::-1]),
                                "one order of the models", STOPS),
    "always the first slot": (EVALUATION, rank(lambda r, s, row: s), "ranks by the slot", STOPS),
    "always the last slot": (EVALUATION, rank(lambda r, s, row: s[::-1]), "ranks by the slot",
                             STOPS),
    "rankings by length": (EVALUATION, rank(lambda r, s, row: sorted(
        s, key=lambda m: -len(row["responses"][m]))), "ranks by length", STOPS),
    "rankings upside down": (EVALUATION, rank(lambda r, s, row: r[::-1]), "rankings against pairs",
                             STOPS),
    "the same reply told apart": (
        EVALUATION, controls(lambda r: r["a"] == r["b"] and r.update(label="1")),
        "the same reply twice", STOPS),
    # texts
    "entities in a pool": (POOL, text(lambda t: "&gt; " + t, share=0.05),
                           "HTML entities in replies", STOPS),
    "markers in a slot": (POOL, text(lambda t: t + " [/INST]", sides=("response_2",)),
                          "template markers", STOPS),
    "one opening in both slots": (POOL, text(lambda t: "As you said, well. " + t), "one opening",
                                  STOPS),
    "one text for all": (POOL, text(lambda t: "I agree with you.", sides=("response_1",)),
                         "one text for all", STOPS),
    "a third cut off, said to have stopped": (POOL, text(cut_off, share=0.3),
                                              "texts that break off", WARNS),
    "targets that are cut off": (
        "sft_train.jsonl", each(lambda r, n: n % 2 and r.update(response=cut_off(r["response"]))),
        "texts that break off", WARNS),
    "a model cut off, said to have stopped": (
        EVALUATION, replies(lambda t, n: cut_off(t), "rlhf"), "texts that break off (evaluated)",
        WARNS),
    "thinking aloud in half of a pool": (
        POOL, text(lambda t: f"<think>Zoos, hm.</think>{t}", share=0.5), "template markers", STOPS),
    "one target fifteen times": (
        "sft_train.jsonl", lambda r: [row | {"response": "I agree."} for row in r[:15]] + r[15:165],
        "one text again and again", WARNS),
    "a control token in the last row": (
        "sft_train.jsonl", each(lambda r, n: n == 199 and r.update(
            response=r["response"] + "<|im_end|>")), "control tokens", STOPS),
    "refusals as targets": (
        "sft_train.jsonl", each(lambda r, n: n % 10 == 0 and r.update(
            response="I'm sorry, but I can't help with that.")), "refusals", STOPS),
    "role names in evaluated replies": (
        EVALUATION, replies(lambda t, n: t + "\nHuman: I see.", "rlhf"),
        "names of speakers (evaluated)", WARNS),
    "another language": (
        EVALUATION, replies(lambda t, n: "Das ist nicht so, wie ich und du es sehen, weil die "
                            "Menschen auch einen Grund haben.", "rlaif"),
        "another language (evaluated)", WARNS),
    # models and yardsticks
    "the declared two are one": (
        EVALUATION, rows(lambda r, n: r["responses"].update(
            rlhf=f" {r['responses']['rlaif_rlhf'].upper()} ")), "the declared two say the same",
        STOPS),
    "a model without SFT": (EVALUATION, as_base, "models that do not descend from SFT", STOPS),
    "replies shifted by a prompt": (EVALUATION, shifted("rlaif_rlhf"),
                                    "replies moved against prompts", STOPS),
    "an oracle that is a candidate": (
        EVALUATION, rows(lambda r, n: r.update(oracle=r["responses"]["rlhf"])),
        "the oracle is a candidate", WARNS),
    "an oracle that repeats the post": (
        EVALUATION, rows(lambda r, n: r.update(oracle=r["messages"][-1]["content"].upper())),
        "the oracle repeats its prompt", WARNS),
    "a model that repeats the post": (
        EVALUATION, replies_of_rows(lambda r: r["messages"][-1]["content"], "sft"),
        "a model repeats its prompt", WARNS),
    "one similarity for all prompts": (
        EVALUATION, rows(lambda r, n: r["similarity_scores"].update(rlaif=0.8125)),
        "one similarity for all", WARNS),
    "test prompts twice": (EVALUATION, twice, "test prompts twice", STOPS),
    "a model's name in its reply": (
        EVALUATION, replies(lambda t, n: f"[rlaif_rlhf] {t}", "rlaif_rlhf"),
        "a model's name in its reply", WARNS),
    "DPO without its reference": (
        "training_log.json", lambda c: [{"history": [
            {"step": 10, "loss": 0.97, "rewards/chosen": -3.14}]}],
        "DPO began away from its reference", STOPS),
    "DPO's losses are NaN": ("training_log.json", logged(loss=math.nan),
                             "DPO's losses are no numbers", STOPS),
    "DPO exploded": ("training_log.json", logged(loss=7.0), "DPO ended above a coin", WARNS),
    "DPO moved nothing": ("training_log.json", logged(loss=0.6931, **{"rewards/chosen": 0.0}),
                          "DPO stood still", WARNS),
}


def plant(clean, folder, file, change):
    """A copy of the clean files with one of them changed."""
    for path in clean.iterdir():
        (folder / path.name).write_text(path.read_text())
    content = (folder / file).read_text()
    lines = file.endswith(".jsonl")
    given = [json.loads(line) for line in content.splitlines()] if lines else [json.loads(content)]
    changed = change(given)
    given = given if changed is None else changed
    (folder / file).write_text("\n".join(map(json.dumps, given)) + "\n" if given else "")


def related(file):
    """The files that a threat in this one can be seen in, so that a test looks at no others."""
    groups = ((AI, LOG, "ai_pool_responses.jsonl"), (PERSON, POOL, "human_pool_judged.jsonl"),
              ("rlaif_train.jsonl", "rlaif_val.jsonl", AI),
              ("rlhf_train.jsonl", "rlhf_val.jsonl", PERSON),
              ("sft_train.jsonl", "final_eval_reserved.jsonl"))
    return next((group for group in groups if file in group), (file,))


OF_RANKINGS = [name for name, threat in THREATS.items() if threat[2] in judge_health.FAULTS]


@pytest.mark.parametrize("threat", [
    pytest.param(name, marks=pytest.mark.slow) if name in OF_RANKINGS else name
    for name in THREATS])
def test_a_planted_threat_is_named_with_what_it_is(clean, tmp_path, threat):
    file, change, check, state = THREATS[threat]
    plant(clean, tmp_path, file, change)
    findings, table = audit(*(tmp_path / name for name in related(file)),
                            rankings=threat in OF_RANKINGS)
    assert check in found(findings, state), table


def test_clean_files_are_silent(clean):
    findings, table = audit(clean, rankings=False)
    assert not found(findings, STOPS, WARNS), table
    assert len(found(findings, "fine")) > 60


@pytest.mark.parametrize("parents, stopped", [
    (["base", "sft", "rlaif"], False), (["base", "sft"], True)])
def test_a_training_that_goes_on_from_another_model_may_begin_away_from_its_reference(
        tmp_path, parents, stopped):
    """In one of ten demos rlaif disagreed with the person's labels: rlaif_rlhf began at 1.02."""
    log = {"history": [{"step": 0, "eval_loss": 1.02, "eval_rewards/chosen": -1.02}]}
    (tmp_path / "training_log.json").write_text(json.dumps(log))
    (tmp_path / "lineage.json").write_text(json.dumps(
        {"parents": dict.fromkeys(parents, "hash"), "reference": "sft"}))
    findings, _ = audit(tmp_path, rankings=False)
    assert bool(found(findings, STOPS)) == stopped


@pytest.mark.parametrize("lineage", ["null", "[]", "{}", '{"parents": null}', '{"parents": {}}',
                                     '{"parents": ["base"]}', "{", '"sft"'])
def test_a_lineage_that_tells_nothing_excuses_no_training(tmp_path, lineage):
    log = {"history": [{"step": 0, "eval_loss": 1.02, "eval_rewards/chosen": -1.02}]}
    (tmp_path / "training_log.json").write_text(json.dumps(log))
    (tmp_path / "lineage.json").write_text(lineage)
    findings, table = audit(tmp_path, rankings=False)
    assert found(findings, STOPS) or "lineage.json" in table


@pytest.mark.parametrize("history", ["null", "[]", "[1, null]", '"x"', "{}", '[{"step": null}]'])
def test_a_training_log_that_holds_nothing_is_no_traceback(tmp_path, history):
    (tmp_path / "training_log.json").write_text(f'{{"history": {history}}}')
    audit(tmp_path, rankings=False)


def test_there_are_forty_threats_of_as_many_checks():
    assert len(THREATS) >= 40 and len({threat[2] for threat in THREATS.values()}) >= 40


def test_the_page_of_what_was_planted_has_a_row_for_each_threat():
    rows = {f"| {name} | `{file}` | {check} | {'stops' if state == STOPS else 'warns'} |"
            for name, (file, _, check, state) in THREATS.items()}
    page = (ROOT / "docs/planted.md").read_text().splitlines()
    assert {line for line in page if line.startswith("| ")} - rows == {
        "| planted | in | named by | which |"}
    assert rows <= set(page)


def test_what_is_allowed_by_name_is_told_and_stops_nothing(clean, tmp_path):
    file, change, check, _ = THREATS["always the left side"]
    plant(clean, tmp_path, file, change)
    config = load_config("demo", [f"checks.allow=[{check}]"], root=ROOT)
    findings, _ = audited(config, [tmp_path / file])
    assert check in found(findings, "allowed") and check not in found(findings, STOPS)


def test_the_command_has_status_1_where_something_stops_and_says_what_is_missing(
        clean, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["audit", str(clean / PERSON)]) == 0
    assert "an evaluation (final_evaluation.json) is missing" in " ".join(
        capsys.readouterr().out.split())
    file, change, check, _ = THREATS["answers faster than reading"]
    plant(clean, tmp_path, file, change)
    assert main(["audit", str(tmp_path / file)]) == 1
    assert capsys.readouterr().out.startswith(f"FOUND, STOPS\n  {check}: ")


def test_a_broken_file_is_said_and_the_others_are_checked(clean, tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"chosen": "a"\n')
    findings, table = audit(tmp_path, clean / PERSON, rankings=False)
    assert "broken.jsonl:1" in table and "self-agreement at chance" in found(findings, "fine")


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real data are not here")
def test_everything_that_the_earlier_runs_files_can_show_is_found():
    findings, _ = audit(SHARED_DATA / "cmv_pairs")
    assert found(findings, STOPS) >= {
        "tie share", "ties trained on", "truncated replies", "opening gap between slots",
        "one opening", "template markers", "prompts without their message",
        "HTML entities in replies", "prompts with entities", "prompts with a moderator's footnote",
        "prompts that tell the outcome", "conversations in two sets",
        "prompts copied in another set"}
    assert found(findings, WARNS) >= {"pairs without a label", "chosen replies are longer"}


@pytest.mark.slow
def test_ten_clean_worlds_raise_next_to_no_alarm(tmp_path):
    """None that stops, and at most one in twenty of the checks that warn."""
    warned = looked = 0
    for seed in range(10):
        findings, table = audit(write_world(tmp_path / str(seed), seed=seed))
        assert not found(findings, STOPS), table
        warned += len(found(findings, WARNS))
        looked += len(found(findings, WARNS, "fine"))
    assert warned <= 0.05 * looked


def test_people_who_prefer_the_better_and_longer_of_two_models_are_no_alarm(clean, tmp_path):
    """As 05b writes them, beside the test prompts that they are about."""
    tests = read_jsonl(clean / "final_eval_reserved.jsonl", parse_example, made_by="the world")
    made = [LabeledPair(
        Pair(example.example_id, example.prompt, f"{example.response} {example.response}",
             example.response, {"example_id": example.example_id, "models": ["better", "worse"]}),
        "a", "ada") for example in tests[:50]]
    folder = tmp_path / "own"
    shutil.copytree(clean, folder)
    write_jsonl(folder / "human_comparisons.jsonl", map(labeled_row, made))
    findings, table = audit(folder, rankings=False)
    assert not found(findings, STOPS, WARNS), table


def test_a_named_run_and_a_trial_below_the_own_folder_are_not_mixed_with_it(clean, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(clean, folder)
    for other in ("runs/seed1", "trial"):
        shutil.copytree(clean, folder / other)
    findings, table = audit(folder, rankings=False)
    assert not found(findings, STOPS, WARNS), table
