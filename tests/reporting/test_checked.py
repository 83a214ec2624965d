"""What the checks found stands first in the report, in a table, and withholds the verdict."""

from persuasion_lib.reporting import report
from worlds.synthetic_evaluation import analysed, changed, criterion, make_evaluation


def spoiled(change, n=40):
    return analysed(changed(make_evaluation(n), change))


def test_two_models_that_say_the_same_have_no_verdict_and_the_report_begins_with_that():
    result = spoiled(lambda row: row["responses"].update(
        rlhf=row["responses"]["rlaif_rlhf"].upper()))
    assert result["answer"]["verdict"] == "none: not to be believed"
    assert criterion(result, "warm-up") == "cannot be decided"
    assert report.as_text(result).startswith("STAND-INS")
    first, *_ = report.parts(result)["answer"].lines
    assert first.startswith("FOUND, and it stops: the declared two say the same.")
    table = report.parts(result)["checked"].table
    assert table.loc["the declared two say the same", "result"] == "found, stops"


def test_no_catastrophic_failures_does_not_stand_beside_refusals():
    result = spoiled(lambda row: row["responses"].update(
        base="I'm sorry, but I can't help with that."))
    assert criterion(result, "catastrophic") == "not met"
    assert "refusals (evaluated)" in str(result["criteria"])
    assert result["answer"]["verdict"] == "helped"


def test_what_is_allowed_withholds_nothing_and_is_told():
    evaluation = changed(make_evaluation(40), lambda row: row["responses"].update(
        rlhf=row["responses"]["rlaif_rlhf"]))
    result = analysed(evaluation, allow=["the declared two say the same"])
    assert result["answer"]["verdict"] == "helped"
    assert "allowed by checks.allow: the declared two say the same" in " ".join(
        report.parts(result)["answer"].lines)
