"""The parts of the report about the answer and the rankings, read from `analysis.json`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from persuasion_lib.labeling.agreement import confusion, sentences
from persuasion_lib.reporting import human_reply, panel
from persuasion_lib.reporting.checked import first_lines, withheld
from persuasion_lib.reporting.evaluation_file import Setup
from persuasion_lib.reporting.judge_health import Result
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.wording import ci_text, number, p_text, p_value, with_interval


def answer(result: Result) -> Part:
    """The verdict, its cautions, and on how many prompts it stands."""
    judge, counts = result["judge"], result["counts"]
    lines = []
    if judge["kind"]:
        lines.append(f"THE JUDGE IS BROKEN ({judge['kind']}): {judge['text']}.")
    lines += first_lines(result)
    if result["status"] != "ok":
        lines.append(f"{result['status'].upper()}: no verdict is given on "
                     f"{counts['scored']} scored prompts.")
    # The banner stands above the whole report.
    lines += [text for text in result["answer"]["sentences"] if text != result["banner"]]
    if result.get("panel"):
        lines += panel.sentences(result)
    if result.get("against_people"):
        lines.append(human_reply.sentence(result))
    if tied := counts["rankings_tied"]:
        lines.append(f"In {tied} rankings models gave the same reply; it was shown once, and they "
                     "share its rank.")
    lines += [f"Caution: {text}" for text in result["cautions"]]
    lines.append(f"Planned {counts['planned'] or 'unknown'} prompts, evaluated "
                 f"{counts['examples']}, scored {counts['scored']}; {counts['rankings']} rankings "
                 f"({counts['orders']:g} per prompt), {counts['rankings_unread']} unread.")
    if alone := counts["judge_only"]:
        lines.append(f"{alone} further prompts were ranked for the judge alone: they are in no "
                     "table, and narrow what people's comparisons say.")
    return Part("Did the warm-up on AI labels help?", lines)


def criteria(result: Result) -> Part:
    """The success criteria."""
    table = pd.DataFrame(result["criteria"]).set_index("criterion")
    return Part("Success criteria, one by one",
                ("'Cannot be decided' is not 'not met': this evaluation could not tell.",),
                table[["verdict", "figure", "level"]])


_SETUP = ("profile", "source", "base_model", "labeller", "annotator", "judge", "oracle", "safety",
          "people", "embedder", "orders", "seed")
_NAMES = {"base_model": "base model", "orders": "orders for each prompt"}


def seen_input(result: Result) -> Part:
    """Who played which role, and what is suspicious in the file."""
    setup = Setup(**result["setup"])
    known = {role: getattr(setup, role) for role in _SETUP}
    known |= {role: model for role, model in (setup.asked_models or {}).items() if model}
    said = {_NAMES.get(role) or setup.name_of(role).removeprefix("the "): str(value)
            for role, value in known.items() if value is not None}
    table = pd.DataFrame({"who or what": said}) if said else None
    return Part("What was evaluated, and what is suspicious in it",
                [*([] if said else ["The file does not say how it was made."]),
                 *(result["warnings"] or ["Nothing suspicious was found in the file."])], table)


def scores(result: Result) -> Part:
    """The score of every model, best first."""
    table = pd.DataFrame(result["scores"]).set_index("model")
    shown = pd.DataFrame({
        "score": table["mean"], "interval": [ci_text(row) for row in result["scores"]],
        "SE": table["se"], "best on": table["first_rate"], "chance to be best": table["prob_best"],
        "rank": table["mean_rank"]})
    trends = [f"Predicted order {' > '.join(trend['order'])}: Page's trend test "
              f"{p_text(trend['p'])}." for trend in result["trend"]]
    return Part("Grader Ranking Scores (normalized to 0-1)", (_overall(result), *trends),
                shown.sort_values("score", ascending=False), "grader_scores",
                (f"{result['confidence']:.0%} intervals over prompts. 'chance to be best': share "
                 "of resampled prompt sets in which the model has the highest mean.",))


def _overall(result: Result) -> str:
    test = result["friedman"]
    if test["status"] == "K<3":
        return "Two models: the comparison below is the whole test."
    return (f"Any difference among the models? Friedman chi2 = {number(test['chi2'])}, df = "
            f"{test['df']}, {p_text(test['p'])}; Kendall's W = {number(test['kendall_w'])} (0 "
            "none, 1 the same ranking on every prompt).")


def comparisons(result: Result) -> Part:
    """Every pair of models within prompts."""
    rows = []
    for row in result["pairs"]:
        mark = " *" if row["family"] == "primary" else ""
        rows.append({
            "pair": f"{row['a']} - {row['b']}{mark}",
            "difference": number(row["mean_diff"], "+.3f"), "interval": ci_text(row, form="+.3f"),
            "p": p_value(row["p_perm"]), "adjusted": p_value(row["p_holm"]),
            "reading": _reading(row, result),
            "win/tie/loss": f"{row['win']}/{row['tie']}/{row['loss']}",
            "d_z": number(row["d_z"], "+.2f"), "rank-bis.": number(row["rank_biserial"], "+.2f"),
            "detectable": number(row["mde80_holm"]),
            "needed": number(row["prompts_needed"], ",.0f")})
    return Part("Every pair of models, compared within prompts", (
        "* the one comparison declared beforehand, tested once; the others are one Holm family.",),
        pd.DataFrame(rows).set_index("pair"), "pair_differences", (
        "p: sign-flip permutation test. detectable: smallest difference found with 80 % "
        "probability at the strictest Holm step. needed: prompts for the observed difference, "
        "unadjusted. Paired t and Wilcoxon tests are in analysis.json, as a check of sensitivity"
        f"{_sensitivity(result['primary_test'])}.",))


def _reading(row: Mapping[str, Any], result: Result) -> str:
    no_verdict = result["judge"]["kind"] or withheld(result) or result["status"] != "ok"
    if no_verdict or row["significant"] is None:
        return "no verdict"
    return "differs" if row["significant"] else "none detected"


def _sensitivity(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return ""
    return (f"; for the declared comparison paired t {p_text(test['p_t'])}, Wilcoxon "
            f"{p_text(test['p_wilcoxon'])}")


def wins(result: Result) -> Part:
    """How often the model of a row beats that of a column."""
    found = result["wins"]
    models = list(found["win_rate"])

    def cell(a: str, b: str) -> str:
        if a == b:
            return "-"
        row = {name: found[name][a][b] for name in ("win_rate", "ci_low", "ci_high")}
        return with_interval(row, "win_rate", form=".0%")

    cells = {b: {a: cell(a, b) for a in models} for b in models}
    return Part("Pairwise win rates", ("Row beats column, a tie counts half.",),
                pd.DataFrame(cells), "pairwise_win_rates")


def position(result: Result) -> Part:
    """Whether the judge agrees with itself, and whether the slot decides."""
    found = result["position"]
    title = "Is the judge consistent, and does the slot decide?"
    lines = _consistency(result["consistency"])
    if found is None:
        return Part(title, [*lines, "Positions unknown."])
    verdict = {True: "the slot matters", False: "no effect of the slot detected",
               None: f"no verdict ({found['status']})"}[found["biased"]]
    lines.append(f"Outcome by slot: {verdict} (chi2 = {number(found['chi2'])}, "
                 f"df = {found['df']}, {p_text(found['p'])}, W = "
                 f"{number(found['kendall_w'])}); balance of models over slots: "
                 f"{p_text(found['balance_p'])}.")
    table = pd.DataFrame([{"slot": row["position"], "mean score": row["mean_score"],
                           "interval": ci_text(row), "best": number(row["first_rate"], ".0%")}
                          for row in found["table"]])
    return Part(title, lines, table.set_index("slot"), "position_outcome")


def _consistency(same: Mapping[str, Any] | None) -> list[str]:
    if same is None:
        return []
    if same["tau"] is None:
        return ["The two orders of a prompt cannot be compared."]
    return [f"Asked in two orders, the judge put {same['flip_rate']:.0%} "
            f"{ci_text(same, 'flip_low', 'flip_high', form='.0%')} of the pairs of models the "
            f"other way round; tau between the two rankings is {number(same['tau'])} "
            f"{ci_text(same)}, the best stayed the same on {same['top1_same']:.0%} of "
            f"{same['n_total']} prompts."]


def agreement(result: Result) -> Part | None:
    """The judge that ranked against the annotator; nothing where a file knows of no annotator."""
    found = result["agreement"]
    title = "Does the judge say what the annotator says?"
    if found is None:
        return None
    if found["status"] == "none":
        return Part(title, sentences(found))
    table = confusion(found).rename_axis(columns=None).add_prefix("judge: ")
    return Part(title, sentences(found), table, None, (
        "Pairs of the SFT model's replies, by response; rows are the annotator's labels.",))


def strengths(result: Result) -> Part:
    """Worths of a Plackett-Luce fit, alone and with terms for slot and length."""
    plain, adjusted = result["strengths"]["plain"], result["strengths"]["adjusted"]
    title = "Strengths (Plackett-Luce)"
    if plain["status"] == "K<3":
        return Part(title, ("Not fitted to fewer than three models: the pair above says all there "
                            "is.",))
    columns = {}
    for suffix, fit in (("", plain), (", adjusted", adjusted)):
        for name in ("worth", "score"):
            columns[f"{name}{suffix}"] = {
                row["model"]: f"{number(row[name])} {ci_text(row, f'{name}_low', f'{name}_high')}"
                for row in fit["table"]}
    terms = [f"{row['covariate']}: {with_interval(row, 'beta', form='+.3f')}"
             for row in adjusted["covariates"]]
    return Part(title, (
        f"Status: {plain['status']}; with terms: {adjusted['status']}. Log-odds per slot further "
        f"back and per unit of log length: {'; '.join(terms) or 'none'}.",
        "Worths sum to 1; score: what they expect it to be. Adjusted: the score at equal length "
        "and slot. If a model writes better and therefore longer, that takes away too much."),
        pd.DataFrame(columns).rename_axis("model"))
