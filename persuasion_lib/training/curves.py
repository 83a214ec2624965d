"""Figures that notebooks 00, 03 and 04 show while they work; those of the report are in figures."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from persuasion_lib.core.records import LabeledPair
from persuasion_lib.core.show import COLOURS, NEUTRAL, Plot, in_order, look

_LOSSES = {"loss": ("training", NEUTRAL, "--"), "eval_loss": ("held out", COLOURS[0], "-")}


def sft_curve(curve: pd.DataFrame) -> Plot:
    """Training and held-out loss in nats per token against the training step."""
    return _losses(curve, "SFT", "loss (nats per token)")


def dpo_loss(curve: pd.DataFrame, model: str) -> Plot:
    """Training and held-out loss of one DPO model, from a training or from its checkpoint."""
    figure = _losses(curve, model, "loss (nats per pair)")
    figure.axes[0].axhline(math.log(2), color=NEUTRAL, linewidth=0.8, linestyle=":")
    return figure


def live_curve(history: Sequence[Mapping[str, float]], title: str) -> Plot:
    """Training and held-out loss so far, from the log of a trainer that is still at work."""
    return _losses(pd.DataFrame(history), title, "loss (nats)")


def _losses(curve: pd.DataFrame, title: str, unit: str) -> Plot:
    curve = curve.reindex(columns=["step", *_LOSSES])      # none of them, if a model was given
    figure = Plot(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for column, (label, colour, dash) in _LOSSES.items():
        rows = curve.dropna(subset=column)
        axes.plot(rows["step"], rows[column], color=colour, linestyle=dash, marker="o",
                  markersize=4, label=label)
    axes.set(xlabel="step", ylabel=unit, title=title)
    axes.legend(frameon=False)
    sns.despine(figure)
    return figure


def dpo_curves(curves: pd.DataFrame) -> Plot:
    """Held-out loss, accuracy and margin of every DPO model against its own training step."""
    return _by_model(curves, {"loss": "loss (nats per pair)",
                              "accuracy": "accuracy (share of pairs)",
                              "margin": "margin (nats × beta)"})


def drift_curves(curves: pd.DataFrame) -> Plot:
    """Divergence from SFT and length of sampled replies to held-out prompts, by training step."""
    return _by_model(curves, {"KL to SFT": "KL to SFT (nats per reply)",
                              "reply tokens": "length (tokens)"})


def _by_model(curves: pd.DataFrame, panels: Mapping[str, str]) -> Plot:
    """A panel per column; empty where it was not watched (dpo.watched_prompts is 0)."""
    figure = Plot(figsize=(1 + 3 * len(panels), 3.2), layout="constrained")
    every = figure.subplots(1, len(panels))
    for axes, (column, label) in zip(every, panels.items(), strict=True):
        axes.set(xlabel="step", ylabel=label)
        _lines(axes, curves.reindex(columns=["model", "step", column]), column)
    every[0].legend(title="model", frameon=False)
    sns.despine(figure)
    return figure


def _lines(axes: Axes, curves: pd.DataFrame, column: str) -> None:
    by_model = dict(list(curves.groupby("model")))
    for model in in_order(by_model):
        rows = by_model[model]
        axes.plot(rows["step"], rows[column].astype(float), markersize=4, label=model,
                  **look(model))


def label_lengths(labels: Mapping[str, Sequence[LabeledPair]]) -> Plot:
    """How many characters longer the chosen reply is than the rejected one, per model."""
    figure = Plot(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, (model, pairs) in zip(panels, labels.items(), strict=True):
        extra = [len(p.chosen) - len(p.rejected) for p in pairs if p.label != "tie"]
        sns.histplot(extra, bins=25, color=look(model)["color"], ax=axes)
        axes.axvline(0, color="black", linewidth=1)
        axes.set(title=model, xlabel="chosen longer by (characters)", ylabel="pairs")
    sns.despine(figure)
    return figure
