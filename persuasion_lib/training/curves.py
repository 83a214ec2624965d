"""Figures that notebooks 00, 03 and 04 show while they work; those of the report are in figures.

Lines differ by dash and marker as well as by colour, so that they survive a grey print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns

from persuasion_lib.core.records import LabeledPair
from persuasion_lib.reporting.figures import Plot


def sft_curve(curve: pd.DataFrame) -> Plot:
    """Training and held-out loss in nats per token against the training step."""
    curve = curve.reindex(columns=["step", "loss", "eval_loss"])   # nothing, if it was given
    figure = Plot(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for column, label, marker in (("loss", "training", "o"), ("eval_loss", "held out", "s")):
        rows = curve[curve[column].notna()]
        axes.plot(rows["step"], rows[column], marker=marker, markersize=4, label=label)
    axes.set(xlabel="step", ylabel="loss (nats per token)", title="SFT")
    axes.legend(frameon=False)
    sns.despine(figure)
    return figure


def dpo_curves(curves: pd.DataFrame) -> Plot:
    """Held-out loss, accuracy and margin of every DPO stage against its own training step."""
    figure = Plot(figsize=(10, 3.2), layout="constrained")
    panels = (("loss", "loss (nats per pair)"), ("accuracy", "accuracy (share of pairs)"),
              ("margin", "margin (nats × beta)"))
    for axes, (column, label) in zip(figure.subplots(1, 3), panels, strict=True):
        sns.lineplot(curves, x="step", y=column, hue="model", style="model", markers=True,
                     dashes=True, palette="colorblind", ax=axes, legend=column == "loss")
        axes.set(xlabel="step", ylabel=label)
    sns.despine(figure)
    return figure


def drift_curves(curves: pd.DataFrame) -> Plot:
    """Divergence from SFT and length of sampled replies to held-out prompts, by training step."""
    if "KL to SFT" not in curves:       # dpo.watched_prompts is 0
        curves = curves.assign(**{"KL to SFT": float("nan"), "reply tokens": float("nan")})
    figure = Plot(figsize=(8, 3.2), layout="constrained")
    panels = (("KL to SFT", "KL to SFT (nats per reply)"), ("reply tokens", "length (tokens)"))
    for axes, (column, label) in zip(figure.subplots(1, 2), panels, strict=True):
        sns.lineplot(curves, x="step", y=column, hue="model", style="model", markers=True,
                     dashes=True, palette="colorblind", ax=axes, legend=column == "KL to SFT")
        axes.set(xlabel="step", ylabel=label)
    sns.despine(figure)
    return figure


def label_lengths(labels: Mapping[str, Sequence[LabeledPair]]) -> Plot:
    """How many characters longer the chosen reply is than the rejected one, per training stage."""
    figure = Plot(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, (stage, pairs) in zip(panels, labels.items(), strict=True):
        extra = [len(p.chosen) - len(p.rejected) for p in pairs if p.label != "tie"]
        sns.histplot(extra, bins=25, color="0.6", ax=axes)
        axes.axvline(0, color="black", linewidth=1)
        axes.set(title=stage, xlabel="chosen longer by (characters)", ylabel="pairs")
    sns.despine(figure)
    return figure


def live_curve(history: Sequence[Mapping[str, float]], title: str) -> Plot:
    """Training and held-out loss so far, from the log of a trainer that is still at work."""
    figure = Plot(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for key, label, marker in (("loss", "training", "o"), ("eval_loss", "held out", "s")):
        points = [(log["step"], log[key]) for log in history if key in log]
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=label)
    axes.set(xlabel="step", ylabel="loss (nats)", title=title)
    axes.legend(frameon=False)
    sns.despine(figure)
    return figure
