"""How far several annotators of one pool agree: all together, and two by two."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from persuasion_lib.core.records import LabeledPair
from persuasion_lib.core.rehearsal import is_stand_in
from persuasion_lib.stats.agreement import agreement, krippendorff

_COMPARED = ("n", "raw", "ci_low", "ci_high", "kappa", "kappa_low", "kappa_high", "status")
# Below .667 not even tentative conclusions should rest on labels (Krippendorff 2004, ch. 11).
TENTATIVE = 0.667

Labels = Mapping[str, str]      # by pair


def two_by_two(people: Mapping[str, Labels], *, seed: int) -> pd.DataFrame:
    """Every two annotators on the pairs that both labelled, ties as a class and left out."""
    rows = []
    for (one, first), (two, second) in combinations(people.items(), 2):
        both = sorted(first.keys() & second.keys())
        for ties in ("class", "drop"):
            result = agreement([first[key] for key in both], [second[key] for key in both],
                               ties=ties, seed=seed)
            rows.append({"annotators": f"{one}, {two}", "ties": ties,
                         **{key: result[key] for key in _COMPARED}})
    return pd.DataFrame(rows, columns=["annotators", "ties", *_COMPARED])


def together(people: Mapping[str, Labels], *, seed: int) -> dict[str, Any]:
    """Krippendorff's alpha of all, a tie as a label of its own; see `stats.agreement`."""
    table = pd.DataFrame({name: pd.Series(labels, dtype=object) for name, labels in people.items()})
    return krippendorff(table, seed=seed)


def of_people(people: Mapping[str, Sequence[LabeledPair]], rule: str, *,
              seed: int) -> dict[str, Any]:
    """What `judge_agreement.json` says of several annotators: `labels_from`, how many labels each
    gave (`annotators`), how many of them are `stand_ins`, `alpha`, and the `pairs` of them."""
    labels = {name: {label.pair.pair_id: label.label for label in own}
              for name, own in people.items()}
    return {"labels_from": rule, "annotators": {name: len(own) for name, own in people.items()},
            "stand_ins": sum(any(is_stand_in(label.labeled_by) for label in own)
                             for own in people.values()),
            "alpha": together(labels, seed=seed),
            "pairs": two_by_two(labels, seed=seed).to_dict("records")}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Who labelled, whose label counted, and how far they agree."""
    rule = {"annotator": "those of one of them were used",
            "majority": "the label of more than half of them was used, and a tie where there is "
                        "none",
            "adjudicated": "where they differ, the label of whoever settled it was used"}
    who = ", ".join(f"{name} {count}" for name, count in found["annotators"].items())
    several, stand_ins = len(found["annotators"]), found.get("stand_ins", 0)
    named = f"{several} stand-ins for people" if stand_ins == several else f"{several} people"
    named += f", {stand_ins} of them stand-ins," if 0 < stand_ins < several else ""
    return [f"{named} labelled ({who} pairs); "
            f"{rule.get(found['labels_from'], 'how their labels became one is not known')}.",
            in_words(found["alpha"])]


def in_words(alpha: Mapping[str, Any]) -> str:
    """Alpha as a sentence."""
    if alpha["status"] != "ok":
        return ("How far they agree is not known: fewer than two pairs have labels of two people, "
                "or all have the same.")
    low, high = alpha["alpha_low"], alpha["alpha_high"]
    within = "" if low is None or low != low else f" [{low:.2f}, {high:.2f}]"
    weak = "" if alpha["alpha"] >= TENTATIVE else (
        f" Below {TENTATIVE:.2f} their labels are of different opinions as much as of replies.")
    return (f"Krippendorff's alpha of all, on the {alpha['n']} pairs that several labelled: "
            f"{alpha['alpha']:.2f}{within}; 1 is the same label always, 0 is chance.{weak}")
