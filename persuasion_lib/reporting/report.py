"""The report: the answer first, then the criteria, the tables, and what limits all of it.

`sections` is the one text; `write_report` prints it plainly and `write_html` with the figures.
Texts of models and judges come from outside: in HTML every one of them is escaped.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.records import content_id
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_text
from persuasion_lib.judging.word_lists import RUBRIC
from persuasion_lib.labeling import agreement
from persuasion_lib.reporting import figures
from persuasion_lib.reporting.verdict import ci_text, p_text, p_value

WIDTH = 100
WIDEST = 125              # a table wider than this is printed as a list
SHOWN = 3                 # best and worst examples per model


@dataclass(frozen=True)
class Section:
    """A part of the report: sentences, at most one table and one figure."""

    title: str
    lines: Sequence[str] = ()
    table: pd.DataFrame | None = None
    figure: str | None = None
    notes: Sequence[str] = field(default=())

    def _repr_html_(self) -> str:
        """For a notebook: the words and the table, without the figure."""
        return _html_body(self)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """The whole report in reading order."""
    return [_answer(result), _criteria(result), _seen(result), _summary(result),
            _comparisons(result), _wins(result), _position(result), *_agreement(result),
            _strengths(result), _similarity(result), _length(result), _tactics(result),
            *_training(result), *_gold(result),
            Section("What limits these figures", result["limits"])]


def section(result: Mapping[str, Any], title: str) -> Section:
    """The part of the report whose title starts so; one that says so where there is none."""
    found = (part for part in sections(result) if part.title.startswith(title))
    return next(found, Section(title, ("The evaluation does not say.",)))


def _answer(result: Mapping[str, Any]) -> Section:
    judge, counts = result["judge"], result["counts"]
    lines = []
    if judge["kind"]:
        lines.append(f"THE JUDGE IS BROKEN ({judge['kind']}): {judge['text']}.")
    if result["status"] != "ok":
        lines.append(f"{result['status'].upper()}: no verdict is given on "
                     f"{counts['scored']} scored prompts.")
    lines += result["answer"]["sentences"]
    lines += [f"Caution: {text}" for text in result["cautions"]]
    lines.append(f"Planned {counts['planned'] or 'unknown'} prompts, evaluated "
                 f"{counts['examples']}, scored {counts['scored']}; {counts['rankings']} rankings "
                 f"({counts['orders']:g} per prompt), {counts['rankings_unread']} unread.")
    return Section("Did the warm-up on AI labels help?", lines)


def _criteria(result: Mapping[str, Any]) -> Section:
    table = pd.DataFrame(result["criteria"]).set_index("criterion")
    return Section("Success criteria, one by one", (
        "'Cannot be decided' is not 'not met': this evaluation could not tell.",),
        table[["verdict", "figure", "level"]])


def _seen(result: Mapping[str, Any]) -> Section:
    setup = result["setup"]
    roles = [f"{key}: {setup[key]}" for key in ("profile", "source", "base_model", "judge",
             "labeller", "oracle", "embedder", "orders", "seed")
             if isinstance(setup.get(key), str | int)]
    roles += [f"{role} asked: {model}" for role, model in (
        setup.get("asked_models") or {}).items() if model]
    return Section("What was evaluated, and what is suspicious in it",
                   [", ".join(roles) or "The file does not say how it was made.",
                    *(result["warnings"] or ["Nothing suspicious was found in the file."])])


def _summary(result: Mapping[str, Any]) -> Section:
    table = _table(result["scores"], "model")
    out = pd.DataFrame({
        "score": table["mean"], "interval": [ci_text(r) for r in result["scores"]],
        "SE": table["se"], "best on": table["first_rate"], "chance to be best": table["prob_best"],
        "rank": table["mean_rank"]})
    test, level = result["friedman"], f"{result['confidence']:.0%}"
    overall = (f"Any difference among the models? Friedman chi2 = {_f(test['chi2'])}, df = "
               f"{test['df']}, {p_text(test['p'])}; Kendall's W = {_f(test['kendall_w'])} (0 none, "
               "1 the same ranking on every prompt).")
    return Section("Grader Ranking Scores (normalized to 0-1)", (
        "Two models: the comparison below is the whole test." if test["status"] == "K<3" else
        overall, *(f"Predicted order {' > '.join(t['order'])}: Page's trend test "
                               f"{p_text(t['p'])}." for t in result["trend"])),
        out.sort_values("score", ascending=False), "grader_scores",
        (f"{level} intervals over prompts. 'chance to be best': share of resampled prompt sets in "
         "which the model has the highest mean.",))


def _comparisons(result: Mapping[str, Any]) -> Section:
    rows = [{"pair": f"{r['a']} - {r['b']}{' *' if r['family'] == 'primary' else ''}",
             "difference": _f(r["mean_diff"], "+.3f"), "interval": ci_text(r, form="+.3f"),
             "p": p_value(r["p_perm"]), "adjusted": p_value(r["p_holm"]),
             "reading": _reading(r, result), "win/tie/loss": f"{r['win']}/{r['tie']}/{r['loss']}",
             "d_z": _f(r["d_z"], "+.2f"), "rank-bis.": _f(r["rank_biserial"], "+.2f"),
             "detectable": _f(r["mde80_holm"]), "needed": _f(n["prompts"], ",.0f")}
            for r, n in zip(result["pairs"], result["needed"], strict=True)]
    return Section("Every pair of models, compared within prompts", (
        "* the one comparison declared beforehand, tested once; the others are one Holm family.",),
        pd.DataFrame(rows).set_index("pair"), None, (
        "p: sign-flip permutation test. detectable: smallest difference found with 80 % "
        "probability at the strictest Holm step. needed: prompts for the observed difference, "
        "unadjusted. Paired t and Wilcoxon tests are in analysis.json, as a check of sensitivity"
        f"{_sensitivity(result['primary_test'])}.",))


def _sensitivity(test: Mapping[str, Any] | None) -> str:
    return "" if test is None else ("; for the declared comparison paired t "
                                    f"{p_text(test['p_t'])}, Wilcoxon "
                                    f"{p_text(test['p_wilcoxon'])}")


def _reading(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if result["judge"]["kind"] or row["significant"] is None or result["status"] != "ok":
        return "no verdict"
    return "differs" if row["significant"] else "none detected"


def _wins(result: Mapping[str, Any]) -> Section:
    wins, models = result["wins"], list(result["wins"]["win_rate"])
    cells = {b: {a: f"{_f(wins['win_rate'][a][b], '.0%')} " + ci_text(
        {"ci_low": wins["ci_low"][a][b], "ci_high": wins["ci_high"][a][b]}, form=".0%")
        if a != b else "-" for a in models} for b in models}
    return Section("Pairwise win rates", ("Row beats column, a tie counts half.",),
                   pd.DataFrame(cells), "pairwise_win_rates")


def _position(result: Mapping[str, Any]) -> Section:
    position, same = result["position"], result["consistency"]
    title, lines = "Is the judge consistent, and does the slot decide?", []
    if same:
        lines.append(
            f"Asked in two orders, the judge put {same['flip_rate']:.0%} "
            f"{ci_text(same, 'flip_low', 'flip_high', form='.0%')} of the pairs of models the "
            f"other way round; tau between the two rankings is {_f(same['tau'])} {ci_text(same)}, "
            f"the best stayed the same on {same['top1_same']:.0%} of {same['n_total']} prompts."
            if same["tau"] is not None else "The two orders of a prompt cannot be compared.")
    if position is None:
        return Section(title, [*lines, "Positions unknown."])
    verdict = {True: "the slot matters", False: "no effect of the slot detected",
               None: f"no verdict ({position['status']})"}[position["biased"]]
    lines.append(f"Outcome by slot: {verdict} (chi2 = {_f(position['chi2'])}, "
                 f"df = {position['df']}, {p_text(position['p'])}, W = "
                 f"{_f(position['kendall_w'])}); balance of models over slots: "
                 f"{p_text(position['balance_p'])}.")
    table = pd.DataFrame([{"slot": r["position"], "mean score": r["mean_score"],
                           "interval": ci_text(r), "best": _f(r["first_rate"], ".0%")}
                          for r in position["table"]])
    return Section(title, lines, table.set_index("slot"), "position_outcome")


def _agreement(result: Mapping[str, Any]) -> list[Section]:
    """The judge that ranked against the annotator; nothing where a file knows of no annotator."""
    found = result["agreement"]
    if found is None:
        return []
    known = found["status"] != "none"
    return [Section("Does the judge say what the annotator says?", agreement.sentences(found),
                    agreement.confusion(found).rename_axis(columns=None).add_prefix("judge: ")
                    if known else None, None, (
        "Pairs of the SFT model's replies, by response; rows are the annotator's labels.",
        ) if known else ())]


def _strengths(result: Mapping[str, Any]) -> Section:
    plain, adjusted = result["strengths"]["plain"], result["strengths"]["adjusted"]
    if plain["status"] == "K<3":
        return Section("Strengths (Plackett-Luce)", ("Not fitted to fewer than three models: the "
                                                     "pair above says all there is.",))
    table = pd.DataFrame({
        f"{name}{which}": {r["model"]: f"{_f(r[name])} {ci_text(r, f'{name}_low', f'{name}_high')}"
                           for r in fit["table"]}
        for which, fit in (("", plain), (", adjusted", adjusted)) for name in ("worth", "score")})
    terms = [f"{row['covariate']}: {_f(row['beta'], '+.3f')} {ci_text(row, form='+.3f')}"
             for row in adjusted["covariates"]]
    return Section("Strengths (Plackett-Luce)", (
        f"Status: {plain['status']}; with terms: {adjusted['status']}. Log-odds per slot further "
        f"back and per unit of log length: {'; '.join(terms) or 'none'}.",
        "Worths sum to 1; score: what they expect it to be. Adjusted: the score at equal length "
        "and slot. If a model writes better and therefore longer, that takes away too much."),
        table.rename_axis("model"))


def _similarity(result: Mapping[str, Any]) -> Section:
    section = result["similarity"]
    if section is None:
        return Section("Average Similarity to Oracle", ("No similarity in the evaluation.",))
    against, baselines, lines = section["against_rank"], section["baselines"], []
    table = _means(section["table"]).assign(
        SD={row["model"]: _f(row["sd"]) for row in section["table"]})
    if against:
        lines.append(f"Within a prompt, similarity and score: mean Spearman "
                     f"{_f(against['rho'], '+.3f')} {ci_text(against, form='+.3f')}, "
                     f"{p_text(against['p'])} over {against['n_used']} prompts "
                     f"({against['n_constant']} without variation left out). Of the models' means: "
                     f"{_f(against['system']['rho'], '+.2f')} ({against['system']['note']}).")
    if baselines:
        lines.append("What such a number means: " + "; ".join(
            f"the oracle's reply against {row['model']} {_f(row['mean'])} {ci_text(row)}"
            for row in baselines["oracle"]) + ". 'closer' is how much nearer a reply is to its own "
            "oracle reply than to one for another prompt; 0 would be no relation to the prompt.")
        table = table.assign(closer={r["model"]: f"{_f(r['mean'], '+.3f')} "
                                     f"{ci_text(r, form='+.3f')}" for r in baselines["closer"]})
    return Section("Average Similarity to Oracle", lines, table, "similarity_distributions")


def _length(result: Mapping[str, Any]) -> Section:
    bias = result["length"]["bias"]
    lines = [f"The longer reply won {_f(bias['p_prefer_longer'], '.0%')} "
             f"{ci_text(bias, form='.0%')} of {bias['n_considered']} pairs whose lengths differ by "
             f"more than 30; winners were {_f(bias['mean_difference'], '+.1f')} longer on average "
             f"{ci_text(bias, 'difference_low', 'difference_high', form='+.1f')}. The intervals "
             "allow for pairs of one prompt being related; length-adjusted scores are those of "
             "Strengths."]
    table = _means(result["length"]["table"], ".0f")
    quality = pd.DataFrame(result["quality"]).T.map("{:.0%}".format).rename(
        columns={"same_text": "commonest text"})
    return Section("Length (characters) and signs of failed generation (share of replies)", lines,
                   table.join(quality), "length_vs_score")


def _tactics(result: Mapping[str, Any]) -> Section:
    section = result["tactics"]
    table = pd.DataFrame({name: {r["model"]: f"{_f(r['mean'], '.0%')} {ci_text(r, form='.0%')}"
                                 for r in rows} for name, rows in section["share"].items()})
    reward = section["reward"]
    changes = [f"{r['a']} - {r['b']} {_f(r['mean_diff'], '+.0%')} {ci_text(r, form='+.0%')}"
               for r in section["pairs"] if r["b"] == "sft"]
    return Section("Safety: manipulation tactics", (
        *_tactics_found_by(section, result["setup"]),
        "Did training on preferences add to it? Any tactic, within prompts: "
        f"{'; '.join(changes) or 'SFT was not evaluated'}.",
        f"Did the judge that ranks reward it? Within {reward['n']} prompts that have replies with "
        f"and without a tactic, those with one scored {_f(reward['mean'], '+.3f')} "
        f"{ci_text(reward, form='+.3f')}.", *map(_label_tactics, section["labels"])), table)


def _tactics_found_by(section: Mapping[str, Any], setup: Mapping[str, Any]) -> list[str]:
    """Who found the tactics, and what that cannot say."""
    count = section["share"]["any"][0]["n"]
    if section["judge"] and setup.get("safety") != "offline":
        return [f"Share of replies in which {section['judge']}, told neither model nor label, finds"
                f" a tactic of its rubric, over {count} prompts; {section['unscored']} replies are "
                "unscored and not counted as clean. One model's reading in one call: no person "
                "checked it, and it may miss what the labeller missed."]
    return [f"Share of replies in which a word list (a stand-in for a judge with this rubric) "
            f"finds a tactic, blind to the model, over {count} prompts. It finds phrases, not "
            "intent.", *(f"{name}: {text}." for name, text in RUBRIC.items())]


def _label_tactics(row: Mapping[str, Any]) -> str:
    chosen, rejected = (f"{_f(r['mean'], '.0%')} {ci_text(r, form='.0%')}" for r in row["share"])
    missing = f" ({row['unscored']} pairs unscored)" if row["unscored"] else ""
    return (f"Did the {_LABELLERS.get(row['pool'], row['pool'])} reward it? Of {row['n']} decided "
            f"pairs{missing} the chosen reply has a tactic in {chosen}, the rejected one in "
            f"{rejected}: {_f(row['mean_diff'], '+.0%')} {ci_text(row, form='+.0%')}, "
            f"{p_text(row['p_perm'])}.")


_LABELLERS = {"ai": "AI labels", "human": "human labels"}


def _training(result: Mapping[str, Any]) -> list[Section]:
    if not result["training"]:
        return []
    rows = {}
    for model, log in result["training"].items():
        points = [point for point in log["points"] if "held_out_loss" in point]
        kept = next(point for point in points if point["step"] == log["best_step"])
        rows[model] = {"steps": points[-1]["step"], "kept": kept["step"], **{
            name: f"{_f(points[0].get(key), form)} → {_f(kept.get(key), form)}"
            if key in kept else "-" for name, key, form in (
                ("held-out loss", "held_out_loss", ".3f"), ("accuracy", "accuracy", ".2f"),
                ("margin", "margin", ".3f"), ("KL to SFT", "kl", ".2f"),
                ("reply tokens", "reply_tokens", ".0f"))}}
    alarms = [f"Alarm, {model}: {text}" for model, log in result["training"].items()
              for text in log["alarms"]]
    return [Section("How the models were trained", (
        "From the first validation point (of DPO: before training, where every margin is 0 and "
        "none counts as accurate, but for rlaif_rlhf) to the step that was kept.",
        *(alarms or ["No alarm: loss fell, and neither likelihood, distance from SFT nor length of "
                     "replies moved further than the stated bounds."])),
        pd.DataFrame(rows).T.rename_axis("model"), "training_curves")]


def _gold(result: Mapping[str, Any]) -> list[Section]:
    if result["gold"] is None:
        return []
    return [Section("The demo's truth (gold utility of the same replies)", (
        "Known only in the demo world, and hidden from every judge.",),
        _means(result["gold"]["table"]))]


def _means(rows: Sequence[Mapping[str, Any]], form: str = ".3f") -> pd.DataFrame:
    return pd.DataFrame({row["model"]: {"mean": _f(row["mean"], form),
                                        "interval": ci_text(row, form=form)} for row in rows}
                        ).T.rename_axis("model")


def _table(rows: Sequence[Mapping[str, Any]], index: str) -> pd.DataFrame:
    return pd.DataFrame(rows).set_index(index)


def _f(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else f"{value:{form}}"


def write_report(run: StageRun, result: Mapping[str, Any]) -> Path:
    """Write `analysis_report.txt`."""
    return write_text(run.path("report"), as_text(result))


def as_text(result: Mapping[str, Any]) -> str:
    """The report as plain text."""
    parts = ["EVALUATION SUMMARY", "=" * 40]
    for section in sections(result):
        parts += ["", section.title, "-" * len(section.title)]
        parts += [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in section.lines]
        if section.table is not None:
            parts += ["", _text_table(section.table)]
        parts += [textwrap.fill(note, WIDTH) for note in section.notes]
    return "\n".join(parts) + "\n"


def _text_table(table: pd.DataFrame) -> str:
    """Columns where they fit; otherwise one entry per row."""
    text = table.to_string(float_format="{:.3f}".format, na_rep="-")
    if len(text.split("\n", 1)[0]) <= WIDEST:
        return text
    return "\n".join(textwrap.fill(f"{name}: {'; '.join(map(str, row))}", WIDTH,
                                   subsequent_indent="    ")
                     for name, row in zip(table.index, table.to_numpy(), strict=True))


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .82rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .45rem; text-align: right; }
tbody th, .wordy th, .wordy td { text-align: left; }
.numbers td, .numbers tbody th { white-space: nowrap; }
img { max-width: 100%; height: auto; background: white; }
figcaption, .note { font-size: .85rem; opacity: .8; }
figure { margin: 1rem 0; } pre { white-space: pre-wrap; font-size: .85rem; }
.answer p:first-of-type { font-weight: 600; }
@media (max-width: 40rem) {
  .wordy thead { display: none; }
  .wordy tr, .wordy th, .wordy td { display: block; border: 0; padding: 0; }
  .wordy tr { border-bottom: 1px solid #8886; padding: .4rem 0; }
}
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; }
  table { display: table; font-size: 7.5pt; } th, td { padding: .15rem .3rem; }
  h2 { break-after: avoid; } p:has(+ table) { break-after: avoid; }
  figure, tr { break-inside: avoid; } img { max-width: 15cm; }
}
"""


def write_html(run: StageRun, result: Mapping[str, Any]) -> Path:
    """Write `report.html`: one file with figures and examples in it; it loads nothing."""
    examples = run.path("qualitative")
    text = examples.read_text(encoding="utf-8") if examples.exists() else ""
    return write_text(run.path("report_html"), as_html(result, run.path("figures"), text))


def as_html(result: Mapping[str, Any], folder: Path, examples: str) -> str:
    """The report as one HTML page; figures that are missing in `folder` are left out."""
    body = [_html_section(section, result, folder, first=i == 0)
            for i, section in enumerate(sections(result))]
    if examples:
        body.append(f"<h2>Examples</h2><details><summary>Best and worst replies</summary>"
                    f"<pre>{escape(examples)}</pre></details>")
    return ("<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>Evaluation summary</title><style>{_STYLE}</style></head><body>"
            f"<h1>Evaluation summary</h1>{''.join(body)}</body></html>\n")


def _html_section(section: Section, result: Mapping[str, Any], folder: Path, *,
                  first: bool) -> str:
    parts = [f"<section{' class=answer' if first else ''}><h2>{escape(section.title)}</h2>",
             _html_body(section)]
    if section.figure and (folder / f"{section.figure}.png").exists():
        parts.append(_html_figure(folder / f"{section.figure}.png",
                                  figures.caption(section.figure, result)))
    return "".join([*parts, "</section>"])


def _html_body(section: Section) -> str:
    table = [] if section.table is None else [_html_table(section.table)]
    return "".join([*(f"<p>{escape(line)}</p>" for line in section.lines), *table,
                    *(f"<p class='note'>{escape(note)}</p>" for note in section.notes)])


def _html_table(table: pd.DataFrame) -> str:
    wordy = any(len(str(value)) > 40 for value in table.to_numpy().ravel())
    return table.rename_axis(None).to_html(escape=True, float_format="{:.3f}".format, na_rep="-",
                                           border=0, classes="wordy" if wordy else "numbers")


def _html_figure(path: Path, caption: str) -> str:
    image = path.read_bytes()
    data = base64.b64encode(image).decode()
    width = round(int.from_bytes(image[16:20]) * 96 / figures.DPI)    # letters of one size in all
    return (f"<figure><img alt='{escape(caption, quote=True)}' width='{width}' "
            f"src='data:image/png;base64,{data}'><figcaption>{escape(caption)}</figcaption>"
            "</figure>")


def write_qualitative(run: StageRun, result: Mapping[str, Any],
                      evaluation: Mapping[str, Any]) -> Path:
    """Write `qualitative_examples.txt`: best and worst replies of every model."""
    return write_text(run.path("qualitative"), qualitative(result, evaluation))


def qualitative(result: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """Best and worst replies per model by score, ties by a hash of the example's id."""
    rows = [{**row, "example_id": str(row.get("example_id", i))}
            for i, row in enumerate(evaluation["per_example"])
            if any((row.get("grader_scores") or {}).values())]    # all 0 is unscored, not worst
    parts = ["QUALITATIVE EXAMPLES", "",
             textwrap.fill(f"Rule: per model the {SHOWN} scored examples with its highest and its "
                           "lowest judge's score; equal scores in the order of a hash of the "
                           "example's id. Extremes are not typical.", WIDTH)]
    for model in result["models"]:
        for kind, sign in (("BEST", -1), ("WORST", 1)):
            own = [row for row in rows if row["grader_scores"].get(model) is not None]
            own.sort(key=lambda row, s=sign, m=model: (
                s * row["grader_scores"][m], content_id("qualitative", row["example_id"])))
            for row in own[:SHOWN]:
                parts += ["", f"=== {model}: {kind} (score {row['grader_scores'][model]:.2f}, "
                              f"example {row['example_id']})", *_example_lines(row, model)]
    return "\n".join(parts) + "\n"


def _example_lines(row: Mapping[str, Any], model: str) -> list[str]:
    prompt = str(row.get("prompt", ""))
    others = ", ".join(f"{name} {score:.2f}" for name, score in row["grader_scores"].items()
                       if score is not None)
    return [f"PROMPT: {prompt if len(prompt) < 1500 else '… ' + prompt[-1500:]}", "",
            f"REPLY: {row['responses'].get(model, '')}", "",
            f"SCORES: {others}", f"REASON: {row.get('grader_explanation', '')}"]
