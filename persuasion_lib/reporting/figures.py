"""Figures of the report, drawn from `analysis.json` alone.

Their captions stand in report.html.j2.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from persuasion_lib.core.show import COLOURS, NEUTRAL, Plot, in_order, look
from persuasion_lib.core.stage import StageRun
from persuasion_lib.reporting.wording import p_text, told


def grader_scores(result: Mapping[str, Any]) -> Plot:
    """The mean normalised score of every model with its interval over prompts."""
    rows = {row["model"]: row for row in result["scores"] if row["mean"] is not None}
    models = in_order(rows)
    figure, axes = canvas(6.4, 0.45 * len(models) + 1.2)
    for y, model in enumerate(models):
        row = rows[model]
        _interval(axes, y, row, **_marked(model, result))
        axes.annotate(f"{row['mean']:.2f}", (row["mean"], y), xytext=(0, 7),
                      textcoords="offset points", ha="center", fontsize=9)
    axes.axvline(0.5, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), yticks=range(len(models)), yticklabels=models, title="Score by the judge",
             xlabel="normalised score (0: always last, 1: always best)")
    axes.margins(y=0.15)
    axes.invert_yaxis()
    return figure


def people_and_judge(result: Mapping[str, Any]) -> Plot:
    """How often the first of the declared two is preferred: by people, the judge, and both."""
    found = result["people"]
    if not found or found["ci_low"] is None:
        return nothing("no people compared final replies")
    judge = {"estimate": found["judge_alone"], "ci_low": found["judge_low"],
             "ci_high": found["judge_high"]}
    table = pd.DataFrame([judge, found["alone"], found])[["estimate", "ci_low", "ci_high"]]
    who = ("simulated people", "simulated people and judge") if found["simulated"] else (
        "people", "people and judge")
    figure, axes = canvas(6.4, 2.3)
    centre, low, high = table.astype(float).to_numpy().T
    for y, colour in enumerate((NEUTRAL, COLOURS[9], COLOURS[5])):
        axes.errorbar(centre[y], y, xerr=[[centre[y] - low[y]], [high[y] - centre[y]]], fmt="o",
                      color=colour, capsize=5, markersize=7, linewidth=1.6)
        axes.text(centre[y], y + 0.16, f"{centre[y]:.0%} [{low[y]:.0%}, {high[y]:.0%}]",
                  ha="center", va="bottom", fontsize=9)
    axes.axvline(0.5, color="0.3", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(-0.5, 2.7), yticks=range(3), yticklabels=["judge alone", *who],
             xlabel=f"share of prompts on which {found['a']} is preferred to {found['b']}",
             title="What people say, and what the judge says")
    return figure


def _marked(model: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Colour and marker of a model, for a point without a line."""
    return look(model, result["models"]) | {"linestyle": "none"}


def _interval(axes: Axes, y: float, row: Mapping[str, Any], **options: Any) -> None:
    """A point with its interval across, or the point alone where no interval is known."""
    known = row["ci_low"] is not None
    ends = [[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]] if known else None
    axes.errorbar([row["mean"]], [y], xerr=ends, capsize=4, markersize=7, linewidth=1.5,
                  **options)


def similarity_distributions(result: Mapping[str, Any]) -> Plot:
    """One histogram per model of the similarity to the oracle's reply, with mean and interval."""
    found = result["similarity"]
    if found is None:
        return nothing("no similarity in the evaluation")
    table = {row["model"]: row for row in found["table"]}
    rows = [table[model] for model in in_order(table)]
    figure = Plot(figsize=(6.4, 1.2 * len(rows) + 1), layout="constrained")
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, row in zip(panels, rows, strict=True):
        counts = found["histogram"]["counts"][row["model"]]
        colour = look(row["model"], result["models"])["color"]
        axes.stairs(counts, np.array(found["histogram"]["edges"]), fill=True, color=colour,
                    alpha=0.45)
        axes.axvline(row["mean"], color="black", linewidth=1.5)
        if row["ci_low"] is not None:
            axes.axvspan(row["ci_low"], row["ci_high"], color=colour, alpha=0.6, linewidth=0)
        _baselines(axes, found["baselines"])
        axes.set_ylabel("prompts", fontsize=8)
        axes.set_title(f"{row['model']}: mean {row['mean']:.3f}", loc="left", fontsize=9, pad=2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Similarity to the oracle's reply")
    panels[-1].set_xlabel("cosine similarity (line: mean; band: its interval)")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2,
                  loc="outside lower center")
    return figure


def _baselines(axes: Axes, baselines: Mapping[str, Any] | None) -> None:
    rows = baselines["oracle"] if baselines else []
    for row, style in zip(rows, (":", "--"), strict=False):
        if row["mean"] is not None:
            axes.axvline(row["mean"], color=NEUTRAL, linewidth=1.3, linestyle=style,
                         label=f"oracle's reply against {row['model']}")


def pair_differences(result: Mapping[str, Any]) -> Plot:
    """A forest plot: every pair's difference within prompts, the declared one filled."""
    rows = sorted(result["pairs"], key=lambda row: row["mean_diff"] or 0.0)
    figure, axes = canvas(7.6, 0.34 * len(rows) + 1.3)
    for y, row in enumerate(rows):
        declared = row["family"] == "primary"
        if row["ci_low"] is not None:
            axes.hlines(y, row["ci_low"], row["ci_high"], color="black", linewidth=1.3)
        axes.plot(row["mean_diff"], y, "D" if declared else "o", color="black",
                  markerfacecolor="black" if declared else "white", markersize=7)
        axes.text(1.02, y, f"{told(row['mean_diff'])}  {p_text(row['p_holm'])}", va="center",
                  fontsize=8.5, transform=axes.get_yaxis_transform())
    axes.axvline(0, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set(yticks=range(len(rows)), yticklabels=[f"{row['a']} − {row['b']}" for row in rows],
             xlabel="difference of mean scores within prompts (filled: declared beforehand)",
             title="Every pair of models")
    return figure


def pairwise_win_rates(result: Mapping[str, Any]) -> Plot:
    """Heatmap of how often the row's model beats the column's, with intervals in the cells."""
    wins = result["wins"]
    rate, low, high = (pd.DataFrame(wins[k]).T.astype(float)
                       for k in ("win_rate", "ci_low", "ci_high"))
    figure, axes = canvas(1.25 * len(rate) + 2, 0.85 * len(rate) + 1.4)
    sns.heatmap(rate, cmap="cividis", vmin=0, vmax=1, ax=axes, linewidths=1,
                cbar_kws={"label": "win rate of the row"})
    for (y, x), value in np.ndenumerate(rate.to_numpy()):
        on_dark = value < 0.55      # and not quite white or black, which follow the page
        axes.text(x + 0.5, y + 0.5, _cell(value, low.iloc[y, x], high.iloc[y, x]), fontsize=9,
                  ha="center", va="center", color="#fffffe" if on_dark else "#000001")
    axes.set(title="How often the row beats the column", xlabel="", ylabel="")
    axes.tick_params(axis="y", rotation=0)
    return figure


def _cell(rate: float, low: float, high: float) -> str:
    if np.isnan(rate):
        return ""
    return f"{rate:.0%}" if np.isnan(low) else f"{rate:.0%}\n{low:.0%} to {high:.0%}"


def position_outcome(result: Mapping[str, Any]) -> Plot:
    """Mean score by the slot in which a reply was shown, whatever model wrote it."""
    if result["position"] is None:
        return nothing("the evaluation does not store positions")
    table = pd.DataFrame(result["position"]["table"])
    figure, axes = canvas(5, 3.2)
    axes.plot(table["position"], table["mean_score"].astype(float), "o", color="black")
    _intervals(axes, table["position"], table, mean="mean_score")
    axes.axhline(0.5, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0, 1), xticks=list(table["position"]), xlabel="slot (1 is shown first)",
             ylabel="mean score (0 to 1)", title="Does the slot decide?")
    return figure


def length_vs_score(result: Mapping[str, Any]) -> Plot:
    """Mean score in each fifth of a model's reply lengths."""
    profile = pd.DataFrame(result["length"]["profile"])
    if profile.empty:
        return nothing("too few scored prompts for fifths")
    figure, axes = canvas(6.4, 3.6)
    by_model = dict(list(profile.groupby("model")))
    for model in in_order(by_model):
        rows = by_model[model]
        axes.errorbar(rows["length"], rows["score"], yerr=2 * rows["se"].astype(float),
                      markersize=5, capsize=2, linewidth=1.2, label=model,
                      **look(model, result["models"]))
    axes.set(ylim=(-0.05, 1.05), xlabel="length of the reply (characters, mean of the fifth)",
             ylabel="mean score (0 to 1)", title="Length and score")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


_PANELS = {"held_out_loss": "held-out loss\n(nats per pair)",
           "accuracy": "accuracy\n(share of pairs)", "margin": "margin\n(beta × nats)",
           "kl": "KL to SFT\n(nats per reply)", "reply_tokens": "length of replies\n(tokens)"}


def training_curves(result: Mapping[str, Any]) -> Plot:
    """SFT's loss, and by model of DPO what was watched on held-out pairs and prompts."""
    logs = result["training"]
    if not logs:
        return nothing("the evaluation does not say how the models were trained")
    figure = Plot(figsize=(8.6, 4.8), layout="constrained")
    sft_panel, *panels = figure.subplots(2, 3).ravel()
    if "sft" in logs:
        _sft_losses(sft_panel, logs["sft"])
    sft_panel.set(ylabel="loss of SFT\n(nats per token)")
    tuned = in_order(model for model in logs if model != "sft")
    for axes, (column, label) in zip(panels, _PANELS.items(), strict=True):
        for model in tuned:
            _line(axes, logs[model], column, label=model, **look(model, result["models"]))
        axes.set(ylabel=label)
    for axes in (sft_panel, *panels):
        axes.set(xlabel="step")
        axes.set_visible(bool(axes.lines))
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center",
                  ncols=max(1, len(labels)))
    figure.suptitle("How the models were trained")
    return figure


def _sft_losses(axes: Axes, log: Mapping[str, Any]) -> None:
    style = look("sft")
    _line(axes, log, "loss", label="training", color=NEUTRAL, linestyle="--")
    _line(axes, log, "held_out_loss", label="held out", **style)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def _line(axes: Axes, log: Mapping[str, Any], column: str, *, color: str, **options: Any) -> None:
    """One curve by step, with a ring around the point that was kept."""
    curve = pd.DataFrame(log["points"])
    if column not in curve:
        return
    rows = curve.dropna(subset=column)
    axes.plot(rows["step"], rows[column], color=color, markersize=4, **options)
    if column != "loss":
        best = rows[rows["step"] == log["best_step"]]
        axes.plot(best["step"], best[column], "o", markersize=11, markerfacecolor="none",
                  markeredgecolor=color)


FIGURES: dict[str, Callable[[Mapping[str, Any]], Plot]] = {draw.__name__: draw for draw in (
    people_and_judge, grader_scores, similarity_distributions, pair_differences,
    pairwise_win_rates, position_outcome, length_vs_score, training_curves)}


KINDS = ("png", "svg", "pdf")


def write_figures(run: StageRun, result: Mapping[str, Any]) -> list[Path]:
    """Draw all figures into `figures/`, each as KINDS; the same result gives the same bytes."""
    return written(run.path("figures"), {name: draw(result) for name, draw in FIGURES.items()})


def written(folder: Path, figures: Mapping[str, Plot]) -> list[Path]:
    """Write each figure as KINDS into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.{kind}": figure.written(kind)
             for name, figure in figures.items() for kind in KINDS}
    for path, content in files.items():
        path.write_bytes(content)
    return list(files)


def canvas(width: float, height: float) -> tuple[Plot, Axes]:
    """A figure of so many inches, and its axes."""
    figure = Plot(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def nothing(why: str) -> Plot:
    """A figure that says why there is none."""
    figure, axes = canvas(5, 1.2)
    axes.axis("off")
    axes.text(0.5, 0.5, f"Not drawn: {why}.", ha="center", va="center")
    return figure


def _intervals(axes: Axes, x: Any, table: pd.DataFrame, mean: str = "mean") -> None:
    centre = table[mean].astype(float).to_numpy()
    low, high = (table[c].astype(float).to_numpy() for c in ("ci_low", "ci_high"))
    axes.errorbar(list(x), centre, yerr=np.clip([centre - low, high - centre], 0, None),
                  fmt="none", ecolor="black", capsize=5, linewidth=1.3)
