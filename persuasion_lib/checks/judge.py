"""Does the judge judge? From its labels, from the log of its replies, and from its rankings."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.core.answers import IN_WORDS, SWAPPED, verdicts_of
from persuasion_lib.core.records import LABEL_OF_CODE, SLOT_OF_CODE, LabeledPair, unswap
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.stats.blocks import TOO_FEW
from persuasion_lib.stats.resample import wilson

Log = Sequence[Mapping[str, Any]]
LETTERS = "ABCDEF"


def one_verdict(labels: Sequence[LabeledPair]) -> Measured:
    """The share of the commonest verdict, in the order in which the judge saw the replies."""
    codes = Counter(code for label in labels for code in verdicts_of(label).values())
    need(codes.total() >= TOO_FEW, f"the labels hold {codes.total()} verdicts in the order shown")
    code, count = codes.most_common(1)[0]
    return Measured(count / codes.total(), codes.total(), code)


def by_the_place(labels: Sequence[LabeledPair]) -> Measured:
    """The share of decided verdicts for the place chosen more often, whether or not a second
    order was asked."""
    codes = [code for label in labels for code in verdicts_of(label).values() if code != "EQUAL"]
    need(len(codes) >= TOO_FEW, f"the labels hold {len(codes)} decided verdicts in the order shown")
    first = codes.count("1") / len(codes)
    return Measured(max(first, 1 - first), len(codes), "first" if first >= 0.5 else "second")


def against_its_verdicts(labels: Sequence[LabeledPair]) -> Measured:
    """How many labels are not what the verdicts stored beside them say."""
    known = [label for label in labels if verdicts_of(label)]
    need(known, "the labels hold no verdicts in the order shown")
    wrong = [label for label in known if label.label != concluded(label)]
    return Measured(len(wrong), len(known), _told(wrong))


def concluded(label: LabeledPair) -> str:
    """What the verdicts say of the pair: the label they agree on, a tie where they differ."""
    said = {unswap(SLOT_OF_CODE[code], swapped=SWAPPED[shown])
            for shown, code in verdicts_of(label).items()}
    return said.pop() if len(said) == 1 else "tie"


def _told(wrong: Sequence[LabeledPair]) -> str:
    if not wrong:
        return ""
    first = wrong[0]
    return (f"{first.pair.pair_id}: the label is {IN_WORDS[first.label]}, its verdicts are "
            f"{verdicts_of(first)}")


def against_the_log(both: tuple[Sequence[LabeledPair], Log]) -> Measured:
    """How many verdicts beside labels are not those of the judgments in the log that they name."""
    labels, log = both
    by_key = {row.get("key"): row for row in log}
    compared, wrong = 0, []
    for label in labels:
        keys = label.pair.metadata.get("judgments") or []
        rows = [by_key[key] for key in keys if key in by_key]
        if rows and len(rows) == len(keys):
            compared += 1
            logged = {_shown(row): (row.get("verdict") or {}).get("choice") for row in rows}
            if logged != verdicts_of(label):
                wrong.append(label.pair.pair_id)
    need(compared, "no label names its judgments in this log")
    return Measured(len(wrong), compared, f"first: {wrong[0]}" if wrong else "")


def _shown(row: Mapping[str, Any]) -> str:
    return "".join(str(slot + 1) for slot in row.get("order") or [])


def against_what_won(labels: Sequence[LabeledPair]) -> Measured:
    """How surely the judge prefers arguments that did not win.

    The least share of wrong choices with 95 % confidence (Wilson), of the pairs that it decided.
    """
    decided = [label for label in labels if label.label != "tie"]
    need(len(decided) >= TOO_FEW, f"the judge decided {len(decided)} pairs of which one really won")
    wrong = sum(label.label != LABEL_OF_CODE.get(str(label.pair.metadata.get("really")))
                for label in decided)
    low, _ = wilson(wrong, len(decided), confidence=0.95)
    return Measured(low, len(decided), f"{wrong} wrong")


def model_versions(rows: Sequence[LabeledPair] | Log) -> Measured:
    """How many models answered beyond one for each judge, who is one from first to last."""
    counts = Counter(who for who in map(_who, rows) if who[1])
    need(counts, "no row says which model answered")
    judges = {judge for judge, _ in counts}     # several may share a log
    example = ", ".join(f"{model} ({count})" for (_, model), count in counts.most_common(3))
    return Measured(len(counts) - len(judges), counts.total(), example)


def several_models(data: Evaluated) -> Measured:
    """How many models answered beyond one for each judge of an evaluation, as its logs say."""
    found = data.setup.answered_by or {}
    example = "; ".join(f"{judge}: " + ", ".join(f"{model} ({n})" for model, n in counts.items())
                        for judge, counts in found.items())
    return Measured(sum(len(counts) - 1 for counts in found.values()), len(data.rows), example)


def _who(row: LabeledPair | Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(judge as it was asked for, model that answered)."""
    if isinstance(row, LabeledPair):
        return row.labeled_by, row.pair.metadata.get("judge_model")
    return row.get("judge"), row.get("model")


def same_reply(log: Log) -> Measured:
    """The share of the commonest reply text; the same words to every question are no judgment."""
    texts = [_reply(row) for row in log if _reply(row)]
    need(len(texts) >= TOO_FEW, f"{len(texts)} rows hold the text of a reply")
    text, count = Counter(texts).most_common(1)[0]
    return Measured(count / len(texts), len(texts), f"{text!r:.80}")


def _reply(row: Mapping[str, Any]) -> str:
    reply = row.get("reply")
    return reply if isinstance(reply, str) else ""


def same_request(log: Log) -> Measured:
    """The share of rows whose request id an earlier row has: replies out of a cache."""
    ids = [row["request_id"] for row in log if row.get("request_id")]
    need(len(ids) >= TOO_FEW, f"{len(ids)} rows hold the id of a request")
    return Measured(1 - len(set(ids)) / len(ids), len(ids),
                    str(Counter(ids).most_common(1)[0][0]))


def against_its_reply(log: Log) -> Measured:
    """How many verdicts are not what the reply stored beside them says, where that is JSON."""
    compared, wrong = 0, []
    for row in log:
        said = _said(row)
        if said is not None:
            compared += 1
            if said != _read(row):
                wrong.append(str(row.get("id")))
    need(compared, "no reply in the log is JSON with a choice or a ranking")
    return Measured(len(wrong), compared, f"first: {wrong[0]}" if wrong else "")


def _said(row: Mapping[str, Any]) -> object:
    """The choice or ranking in a reply's JSON, in the form of `_read`; None where there is none."""
    try:
        reply = json.loads(_reply(row))
    except json.JSONDecodeError:
        return None
    if not isinstance(reply, dict):
        return None
    ranking = reply.get("ranking")
    if isinstance(ranking, list) and all(str(slot) in LETTERS for slot in ranking):
        return [LETTERS.index(str(slot)) for slot in ranking]
    choice = reply.get("choice")
    return None if choice is None else str(choice).strip().upper()


def _read(row: Mapping[str, Any]) -> object:
    verdict = row.get("verdict") or {}
    return verdict.get("ranking", verdict.get("choice"))


def one_order(data: Evaluated) -> Measured:
    """The share of rankings that have the commonest order of the models."""
    orders = [tuple(order) for order in data.calls.to_numpy().tolist()]
    need(len(data.models) >= 3 and len(orders) >= TOO_FEW,
         f"{len(orders)} rankings of {len(data.models)} models; {TOO_FEW} of 3 are needed")
    order, count = Counter(orders).most_common(1)[0]
    best_first = [model for _, model in sorted(zip(order, data.models, strict=True))]
    return Measured(count / len(orders), len(orders), " > ".join(best_first))


def twins_told_apart(data: Evaluated) -> Measured:
    """The share of controls with the same reply twice that the judge did not call a tie."""
    twins = [row for row in data.file.controls or [] if row.is_twin() and row.label]
    need(len(twins) >= 5, f"the judge was shown {len(twins)} pairs of the same reply")
    apart = [row.example_id for row in twins if row.label != "EQUAL"]
    return Measured(len(apart) / len(twins), len(twins), f"first: {apart[0]}" if apart else "")


def panel_differs(panel: Mapping[str, Any]) -> Measured:
    """How many verdicts on the declared comparison the judges of a panel have beyond one."""
    said = {judge["judge"]: judge["verdict"] for judge in panel["judges"]
            if judge["verdict"] != "none"}
    need(len(said) >= 2, "fewer than two judges of the panel have a verdict")
    return Measured(len(set(said.values())) - 1, len(said),
                    "; ".join(f"{name}: {verdict}" for name, verdict in said.items()))


def against_its_pairs(data: Evaluated) -> Measured:
    """How surely the judge's rankings contradict its own pairwise verdicts on the same replies.

    The least share of contradictions with 95 % confidence (Wilson), of pairs that both decided.
    """
    same = against = 0
    ranks = data.ranks.dropna()
    for row in data.file.controls or []:
        if row.is_twin() or row.label not in ("1", "2") or row.example_id not in ranks.index:
            continue
        gap = ranks.loc[row.example_id, row.b] - ranks.loc[row.example_id, row.a]
        if gap:
            agrees = (gap > 0) == (row.label == "1")        # rank 1 is best
            same, against = same + agrees, against + (not agrees)
    n = same + against
    need(n >= 8, f"{n} pairs of evaluated replies were both compared and ranked")
    low, _ = wilson(against, n, confidence=0.95)
    return Measured(low, n, f"{against} of {n} the other way round")
