"""Several annotators of one pool: shares, votes, rules, and who is still to answer."""

from __future__ import annotations

import pytest

from persuasion_lib import label_human
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.fields import annotator_name
from persuasion_lib.core.records import LabeledPair, labeled_row, parse_labeled
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.labeling.shares import assigned, shared_pairs
from persuasion_lib.labeling.votes import by_person, majority
from worlds.labeling_pool import make_demo, make_pairs
from worlds.three_annotators import NAMES, RULES, THREE, answer, label_all, opened


def shares(pairs, names, answered=(), left=()):
    found = assigned(pairs, names, seed=0, overlap=0.3, answered=dict(answered), left=left)
    return {name: {pair.pair_id for pair in share} for name, share in found.items()}


def test_the_overlap_goes_to_all_and_every_other_pair_to_one():
    pairs = make_pairs(60)
    found = shares(pairs, NAMES)
    shared = shared_pairs(pairs, seed=0, overlap=0.3)
    assert len(shared) == 18 and all(shared <= share for share in found.values())
    assert sum(len(share - shared) for share in found.values()) == 42
    assert set.union(*found.values()) == {pair.pair_id for pair in pairs}


def test_somebody_who_joins_takes_pairs_and_moves_none_between_the_others():
    pairs = make_pairs(60)
    before, after = shares(pairs, NAMES), shares(pairs, [*NAMES, "dan"])
    for name in NAMES:
        assert after[name] <= before[name]
        assert before[name] - after[name] <= after["dan"]


def test_what_somebody_has_answered_stays_theirs_when_others_join_or_leave():
    pairs = make_pairs(60)
    own = shares(pairs, NAMES)["ann"]
    answered = {"ann": sorted(own)[:10]}
    joined = shares(pairs, [*NAMES, "dan"], answered)
    assert set(answered["ann"]) <= joined["ann"]
    gone = shares(pairs, NAMES, answered, left=["ann"])
    assert gone["ann"] == set(answered["ann"])
    assert set.union(*gone.values()) == {pair.pair_id for pair in pairs}


@pytest.mark.parametrize(("votes", "label"), [
    (["a"], "a"), (["a", "b"], None), (["a", "a", "b"], "a"), (["a", "b", "tie"], None),
    (["tie", "tie", "b"], "tie"), (["a", "tie"], None), ([], None)])
def test_a_majority_is_more_than_half(votes, label):
    assert majority(votes) == label


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_demo(tmp_path))
    return tmp_path


def test_each_writes_a_log_of_their_own_and_the_majority_reaches_training(project):
    run, panel = opened(*THREE)
    label_all(panel)
    labels = {label.pair.pair_id: label for label in label_human.write_labels(run, panel)}
    assert len(labels) == 40
    shared = shared_pairs(make_pairs(40), seed=run.config.seed, overlap=0.3)
    for pair_id in shared:      # ann says a; ben b if odd; cleo b, tie or a
        number = int(pair_id[1:])
        assert labels[pair_id].label == {0: "a", 1: "b", 2: "a", 3: "tie"}[number % 4]
        assert bool(labels[pair_id].pair.metadata.get("undecided")) == (number % 4 == 3)
    assert {label.labeled_by for label in labels.values()} == {"human (majority of 3)"}
    names = {path.name for path in (project / "data/demo/preferences").glob("human_events.*.jsonl")}
    assert names == {f"human_events.{name}.jsonl" for name in NAMES}


def test_the_labels_say_what_each_person_said(project):
    run, panel = opened(*THREE)
    label_all(panel)
    label_human.write_labels(run, panel)
    rows = read_jsonl(run.path("human_pool_labeled"), parse_labeled, made_by="02")
    people = by_person(rows)
    assert set(people) == set(NAMES)
    for name, own in people.items():
        assert len(own) == len(panel.sessions[name].pool)
        assert all(label.label == RULES[name](int(label.pair.pair_id[1:])) for label in own)
        assert all(label.pair.metadata["seconds"] == 9.0 for label in own)
    counts = label_human.counted(panel, rows)
    assert counts["labels_from"] == "majority" and set(counts["annotators"]) == set(NAMES)


def test_one_annotators_labels_alone_can_be_trained_on(project):
    run, panel = opened(*THREE, "label_human.labels_from=annotator", "label_human.annotator=ben")
    label_all(panel)
    labels = label_human.write_labels(run, panel)
    assert len(labels) == len(panel.sessions["ben"].pool) < 40
    assert all(label.label == RULES["ben"](int(label.pair.pair_id[1:])) for label in labels)
    assert labels[0].labeled_by == "human (ben, one of 3)"
    with pytest.raises(ConfigError, match="takes the labels of me, who is not among ann, ben"):
        opened(*THREE, "label_human.labels_from=annotator")


def test_disagreements_are_settled_in_a_log_of_their_own_and_block_until_then(project):
    run, panel = opened(*THREE, "label_human.labels_from=adjudicated")
    label_all(panel)
    odd = [pair.pair_id for pair in panel.disputed]
    assert odd and all(int(pair_id[1:]) % 2 for pair_id in odd)
    with pytest.raises(MissingInput, match=f"{len(odd)} of the {len(odd)} pairs on which the anno"):
        label_human.write_labels(run, panel)
    answer(panel.adjudication(), lambda number: "b")
    labels = {label.pair.pair_id: label for label in label_human.write_labels(run, panel)}
    assert {labels[pair_id].label for pair_id in odd} == {"b"}
    settled = [label for label in labels.values() if label.pair.metadata.get("adjudicated")]
    assert len(settled) == len(odd)
    assert run.path("adjudications").exists()


def test_who_left_half_way_is_named_with_what_is_missing_and_the_rest_is_shared_out(project):
    run, panel = opened(*THREE)
    for name in ("ben", "cleo"):
        answer(panel.work(name), RULES[name])
    answer(panel.work("ann"), RULES["ann"], count=5)
    panel.read_again()
    lacking = len(panel.missing_of["ann"])
    with pytest.raises(MissingInput, match=f"ann lacks {lacking}, first p0.*label_human.left"):
        label_human.write_labels(run, panel)
    run, panel = opened(*THREE, "label_human.left=[ann]")
    assert len(panel.sessions["ann"].pool) == 5 and "ann" not in panel.missing_of
    for name in ("ben", "cleo"):        # what was ann's comes to them
        answer(panel.work(name), RULES[name])
    assert len(label_human.write_labels(run, panel)) == 40


def test_two_people_in_two_kernels_write_side_by_side(project):
    _, here = opened(*THREE)
    _, there = opened(*THREE)
    ann, ben = here.work("ann"), there.work("ben")
    for _ in range(5):
        answer(ann, RULES["ann"], count=1)
        answer(ben, RULES["ben"], count=1)
    here.read_again()
    assert [len(here.sessions[name].chosen()) for name in NAMES] == [5, 5, 0]


def test_nobody_sees_labels_of_others_before_all_are_done(project):
    run, panel = opened(*THREE)
    answer(panel.work("ann"), RULES["ann"])
    write_jsonl(run.path("human_pool_judged"), [labeled_row(
        LabeledPair(pair, "b", "judge", "because b")) for pair in make_pairs(40)])
    assert label_human.shown_labels(run, panel) == label_human.judge_labels(run, panel) == []
    label_all(panel)
    assert len(label_human.shown_labels(run, panel)) == len(label_human.judge_labels(run, panel))


@pytest.mark.parametrize("names", ["[ann, Ann]", "[ann, ' ann ']", "[../x]", "[<b>]", "['']",
                                   f"[{'x' * 300}]", "[😀]", "[.ann]", "[a/b]", "['a b']"])
def test_a_name_that_is_no_handle_or_is_there_twice_is_refused(project, names):
    with pytest.raises(ConfigError, match="label_human.annotators"):
        opened("label_human.source=widget", f"label_human.annotators={names}")


def test_a_name_that_is_no_annotator_is_not_passed_over(project):
    with pytest.raises(ConfigError, match="names dan, who is not in label_human.annotators"):
        opened(*THREE, "label_human.left=[dan]")


def test_it_is_said_how_far_the_labels_differ_from_each_ones_alone(project):
    run, panel = opened(*THREE)
    answer(panel.work("ann"), RULES["ann"])
    assert "another one" not in label_human.who_labelled(run, panel)    # nobody learns it before
    label_all(panel)
    shared = [int(pair_id[1:]) for pair_id in shared_pairs(panel.pool, seed=0, overlap=0.3)]
    others = sum(number % 2 for number in shared)       # ann says a; it is b, or no majority
    assert (f"the label that counts is another one on {others} of "
            f"{len(panel.sessions['ann'].pool)} pairs" in label_human.who_labelled(run, panel))


def test_a_log_under_another_spelling_of_the_name_is_asked_about(project):
    _, session = opened("label_human.source=widget", "label_human.annotator=anna")
    answer(session, RULES["ann"], count=1)
    with pytest.raises(ConfigError, match="is the log of anna. If Anna is the same person"):
        opened("label_human.source=widget", "label_human.annotator=Anna")


def by_people(**people):
    """Rows of a file: each person's label of each pair."""
    rows = []
    for name, label in people.items():
        for pair in make_pairs(40):
            row = labeled_row(LabeledPair(pair, label, "human"))
            row["annotator"] = name
            rows.append(row)
    return rows


def from_file(project, rows, *overrides):
    write_jsonl(project / "labels.jsonl", rows)
    return opened("label_human.source=file", "label_human.path=labels.jsonl", *overrides)


def test_a_file_may_hold_labels_of_several_people_for_one_pair(project):
    rows = by_people(Zoë="a", ben="a", cleo="b")
    run, panel = from_file(project, rows)
    labels = label_human.write_labels(run, panel)
    assert {label.label for label in labels} == {"a"} and set(by_person(labels)) == {
        "Zoë", "ben", "cleo"}
    assert label_human.compared(run, panel)["raw"].tolist()[::2] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("rule", ["majority", "adjudicated"])
def test_the_labels_of_a_panel_come_back_as_a_file_with_who_said_what(project, rule):
    run, panel = opened(*THREE, chosen := f"label_human.labels_from={rule}")
    label_all(panel)
    if rule == "adjudicated":
        answer(panel.adjudication(), lambda number: "b")
    before = label_human.write_labels(run, panel)
    run.path("adjudications").unlink(missing_ok=True)
    run, back = from_file(project, map(labeled_row, before), chosen)
    after = label_human.write_labels(run, back)
    assert after == before and set(by_person(after)) == set(NAMES)
    assert not any("labels.jsonl" in text or "its votes give" in text for text in run.warnings)
    assert label_human.counted(back, after) == label_human.counted(panel, before)


def test_a_label_that_is_not_what_its_votes_give_is_said(project):
    rows = [labeled_row(label) for label in label_human.write_labels(
        *from_file(project, by_people(ann="a", ben="a")))]
    rows[5]["metadata"]["preference"] = "2"
    run, panel = from_file(project, rows)
    assert any("1 pairs have another label in the file than its votes give" in text
               and "first: p005" in text for text in run.warnings)


def test_seconds_sides_and_notes_of_a_file_come_with_its_labels(project):
    rows = by_people(ann="a", ben="a")
    for row in rows:
        row["metadata"] |= {"seconds": 7, "shown_swapped": True, "flagged": True, "note": "odd"}
    label = by_person(label_human.write_labels(*from_file(project, rows)))["ben"][3]
    assert label.pair.metadata["seconds"] == 7 and label.pair.metadata["shown_swapped"] is True
    assert label.pair.metadata["note"] == "odd" and label.label == "a"


def test_spellings_of_a_name_in_a_file_are_one_person_who_labels_a_pair_once(project):
    rows = by_people(Anna="a")
    rows[1]["annotator"] = "anna "
    assert len(label_human.write_labels(*from_file(project, rows))) == 40
    with pytest.raises(DataError, match=r"labels.jsonl:41: pair p000 is labelled a second time by "
                                        "'Anna'"):
        from_file(project, [*rows, rows[0] | {"annotator": "ANNA"}])


def test_a_file_can_be_cut_to_some_of_its_people(project):
    run, panel = from_file(project, by_people(ann="a", ben="b", cleo="b"),
                           "label_human.annotators=[ann, ben]")
    assert list(panel.sessions) == ["ann", "ben"]
    assert any("1 other people in the file do not count" in text for text in run.warnings)
    with pytest.raises(ConfigError, match="no label of the file was given by dan"):
        from_file(project, by_people(ann="a", ben="b"), "label_human.annotators=[ann, dan]")


@pytest.mark.parametrize("name", ["../x", "<b>", "x" * 300, "😀", "-", "a\nb/c"])
def test_a_hostile_name_in_a_file_is_refused_with_its_line(project, name):
    with pytest.raises(DataError, match=r"labels.jsonl:1: the name of an annotator is 1 to 60"):
        from_file(project, by_people(**{name: "a"}))


def test_names_of_people_everywhere_are_names():
    assert annotator_name(" Zoë  d'Arc ") == "Zoë d'Arc"
    assert annotator_name("李雷") == "李雷" and annotator_name("ann+2@example.org")
    assert annotator_name(7) == "7" and annotator_name("") is None


def test_simulated_annotators_have_a_noise_and_a_bias_of_their_own(project):
    stand_ins = "label_human.stand_ins={ann: [0, 0], ben: [0, 9], cleo: [3, 0]}"
    run, panel = opened("label_human.source=simulated", THREE[1], stand_ins)
    labels = label_human.write_labels(run, panel)
    assert {label.labeled_by for label in labels} == {
        "simulated annotator (stand-in) (majority of 3)"}
    ben = by_person(labels)["ben"]      # he takes the longer reply
    assert all(len(label.chosen) > len(label.rejected) for label in ben)


@pytest.mark.parametrize("vote", [{"annotator": "ann"}, {"annotator": "<b>", "preference": "1"},
                                  {"annotator": "ann", "preference": "3"}, "ann", [1]])
def test_votes_that_are_none_are_refused_with_their_line(tmp_path, vote):
    row = labeled_row(LabeledPair(make_pairs(1)[0], "a", "human"))
    row["metadata"]["given"] = [vote]
    write_jsonl(tmp_path / "labels.jsonl", [row])
    with pytest.raises(DataError, match=r"labels.jsonl:1: "):
        read_jsonl(tmp_path / "labels.jsonl", parse_labeled, made_by="x")
