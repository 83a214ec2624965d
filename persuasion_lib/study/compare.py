"""Runs beside each other: what differs, what may be compared, and by how much they differ.

Ranks among several models are never compared across runs: their sum is fixed by who takes part.
What is compared is each reply with the anchor's to the same prompt, or with the oracle's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.family import MODELS, PREFERENCE_TRAINED
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import Pair, content_id
from persuasion_lib.judging.roles import make_judge, names_of_models
from persuasion_lib.judging.tasks.compare import label_pairs
from persuasion_lib.stats.resample import Resampling, mean_interval
from persuasion_lib.study.anchored import WORTH, prompt_of, reply_of
from persuasion_lib.study.beside import (
    Run,
    differences,
    judge_of,
    named_apart,
    read_run,
    record_of,
)
from persuasion_lib.study.design import anchor_name

ANCHORS = ("oracle", *MODELS)
# Of these every run holds the reply; a trained anchor's are in a run of its own.
IN_EVERY_RUN = tuple(name for name in ANCHORS if name not in PREFERENCE_TRAINED)
WON, LIKE = "win rate against", "similarity to the oracle"
_LIMIT = ("Intervals over prompts: they say nothing of\nanother training with the same settings; "
          "studies have seeds for that.")
Scores = pd.DataFrame       # columns run, model, example_id, measure, score
Record = dict[str, Any]     # see `record.read_record`
T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; its text is the report.

    `differs` has a row for each setting, input, prompt or version that is not the same everywhere;
    `means` has a row for each measure and model and a column for each run; `pairs` has run, model,
    measure, difference (from the first run that was named), ci_low, ci_high, prompts. Means and
    differences are of the same prompts in all runs. `refused` says what is not compared, and why.
    """

    differs: pd.DataFrame
    means: pd.DataFrame
    pairs: pd.DataFrame
    refused: tuple[str, ...]

    def __str__(self) -> str:
        parts = ["WHAT DIFFERS", _table(self.differs, "nothing that the folders tell"),
                 "SCORES", _table(self.means, "none may be compared"),
                 f"PAIRED DIFFERENCES from the first run. {_LIMIT}",
                 _table(self.pairs, "none")]
        if self.refused:
            parts += ["NOT COMPARED", "\n".join(f"- {text}" for text in self.refused)]
        return "\n\n".join(parts)


def _table(table: pd.DataFrame, empty: str) -> str:
    return table.round(3).to_string(index=False) if len(table) else empty


def compare(config: Config, runs: Sequence[str], *, anchor: str | None = None,
            ask: bool = False) -> Comparison:
    """Compare runs, by name or result folder, on the prompts that they share.

    Args:
        anchor: one of ANCHORS: whose reply to the same prompt every reply is compared with. Else
            the one with which a study compared all of them, sft if it is among several.
        ask: ask the judge of `config` for comparisons with it that no study has made.

    Raises:
        ConfigError: fewer than two runs that can be read, or `ask` with another judge than theirs.
        MissingInput: a run was not evaluated.
    """
    refused: list[str] = []
    named = named_apart([run for text in runs
                         if (run := _or_say(refused, read_run, config, text))])
    if len(named) < 2:
        raise ConfigError(" ".join([*refused, "Two runs are needed. `persuasion runs` lists all."]))
    records = {name: _or_say(refused, record_of, run) for name, run in named.items()}
    against = _anchor_of(records, anchor, ask=ask)
    refused += [*_not_of_one_kind(named), *_fields_differ(named)]
    shared = _shared_prompts(named, refused)
    tables = [] if _not_of_one_kind(named) else [
        _won(config, named, records, shared, against, ask, refused), _like(named, shared, refused)]
    scores = pd.concat([pd.DataFrame(columns=["run", "model", "example_id", "measure", "score"]),
                        *tables], ignore_index=True)
    kept = _scored_in_all(scores.dropna(subset=["score"]), refused)
    how = Resampling(config.analysis.confidence, config.analysis.resamples, config.seed)
    return Comparison(pd.DataFrame(differences(named)), _means(kept),
                      _pairs(kept, list(named), how, refused), tuple(refused))


def _or_say(refused: list[str], read: Callable[..., T], *given: Any) -> T | None:
    """What is read; of a damaged file its sentence is kept instead, and nothing is read."""
    try:
        return read(*given)
    except DataError as error:
        refused.append(str(error))
        return None


def _anchor_of(records: Mapping[str, Record | None], asked: str | None, *, ask: bool) -> str:
    if asked is not None and asked not in ANCHORS:
        raise ConfigError(f"no anchor {asked!r}. There are: {', '.join(ANCHORS)}.")
    if ask and asked in PREFERENCE_TRAINED:
        raise ConfigError(f"{anchor_name(asked)} is in no run that is compared, so its replies "
                          f"cannot be judged here. --ask can be about {', '.join(IN_EVERY_RUN)}.")
    if asked is not None:
        return anchor_name(asked)
    each = [record["anchors"] for record in records.values() if record]
    common = [name for name in (each[0] if each else []) if all(name in found for found in each)]
    common = [name for name in common if name in IN_EVERY_RUN or not ask]
    return "sft" if "sft" in common or not common else common[0]


def _not_of_one_kind(named: Mapping[str, Run]) -> list[str]:
    """Why nothing of these runs may be compared."""
    found = []
    setups = {name: run.data.config for name, run in named.items()}
    stand_ins = {name: sorted(setup.stand_ins()) for name, setup in setups.items()}
    if len(set(map(tuple, stand_ins.values()))) > 1:
        said = "; ".join(f"{name}: {', '.join(roles) or 'none'}"
                         for name, roles in stand_ins.items())
        found.append(f"Any score: stand-ins played in some of the runs and not in others ({said}).")
    judges = {name: judge_of(run.data) for name, run in named.items()}
    if len(set(judges.values())) > 1:
        found.append(f"Any score: other judges ({_said(judges)}).")
    return found


def _said(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in values.items())


def _fields_differ(named: Mapping[str, Run]) -> list[str]:
    fields = {name: tuple(sorted((run.data.config.weights or {}).items()))
              for name, run in named.items()}
    if len(set(fields.values())) == 1 and all(fields.values()):
        return []
    return ["Ranks: each run ranked other models among each other, and the sum of ranks is the "
            "same whoever takes part."]


def _shared_prompts(named: Mapping[str, Run], refused: list[str]) -> list[str]:
    """The ids of prompts that all runs have, with the same text."""
    every = [run.rows for run in named.values()]
    ids = [key for key in every[0] if all(key in rows for rows in every)]
    same = [key for key in ids if len({str(prompt_of(rows[key])) for rows in every}) == 1]
    left = {name: len(run.rows) - len(same) for name, run in named.items()}
    if any(left.values()):
        refused.append(f"Prompts that not all runs have: {len(same)} are shared, left out are "
                       f"{_said({name: str(count) for name, count in left.items()})}.")
    return same


def _won(config: Config, named: Mapping[str, Run], records: Mapping[str, Record | None],
         shared: Sequence[str], anchor: str, ask: bool, refused: list[str]) -> Scores:
    """The win rate of every reply over the anchor's, on prompts where the anchor said the same."""
    fixed = [key for key in shared if len({reply_of(run.rows[key], anchor)
                                           for run in named.values()}) == 1]
    if len(fixed) < len(shared):
        refused.append(f"{len(shared) - len(fixed)} of {len(shared)} shared prompts against "
                       f"{anchor}: it replied otherwise in one of the runs.")
    if why := _no_common_yardstick(named, records, anchor):
        refused.append(f"Win rates: {why}.")
        return pd.DataFrame()
    tables = []
    for name, run in named.items():
        rows = (records[name] or {}).get("scores", [])
        found = (_asked(config, run, fixed, anchor) if ask else
                 [row for row in rows if row["anchor"] == anchor and row["example_id"] in fixed])
        if not found and fixed:
            refused.append(_nobody_compared(name, anchor, records[name]))
        tables.append(pd.DataFrame([
            {"run": name, "model": row["arm"], "example_id": row["example_id"],
             "measure": f"{WON} {anchor}", "score": row["judge"]} for row in found]))
    return pd.concat(tables)


def _no_common_yardstick(named: Mapping[str, Run], records: Mapping[str, Record | None],
                         anchor: str) -> str:
    """Why win rates of these runs are not against the same; "" where they are."""
    versions = {run.prompts.get("compare.txt", "") for run in named.values()} - {""}
    if len(versions) > 1:
        return "other questions to the judge (configs/prompts/compare.txt)"
    trained = {record.get("anchor_evaluation") for record in records.values() if record}
    if anchor not in IN_EVERY_RUN and len(trained) > 1:
        return f"{anchor} is another training in one of the runs"
    return ""


def _nobody_compared(name: str, anchor: str, record: Record | None) -> str:
    others = [other.removeprefix("another ") for other in (record or {}).get("anchors", [])
              if other != anchor]
    but = f" (--anchor {' or '.join(others)} has some)" if others else ""
    return (f"Win rates of {name}: no study has compared its replies with those of {anchor}{but}. "
            "--ask asks the judge.")


def _asked(config: Config, run: Run, ids: Sequence[str], anchor: str) -> list[dict]:
    judge = make_judge(config, "evaluate")
    if names_of_models(config)["judge"] != judge_of(run.data):
        raise ConfigError(f"{run.name} was judged by {judge_of(run.data)}, and these settings name "
                          f"{names_of_models(config)['judge']}. Set evaluation.judge, or leave "
                          "--ask out.")
    found = []
    for key in ids:
        row = run.rows[key]
        yardstick = reply_of(row, anchor)
        found += [(model, key, Pair(content_id(key, text, yardstick), prompt_of(row), text,
                                    str(yardstick), {}))
                  for model, text in row.responses.items()
                  if None not in (text, yardstick) and model not in ("base", anchor)]
    pairs = {pair.pair_id: pair for _, _, pair in found}
    outcome = label_pairs(list(pairs.values()), judge, seed=config.seed,
                          log=path_of(config, "anchor_judgments"))
    labels = {item.pair.pair_id: WORTH[item.label] for item in outcome.labeled}
    return [{"arm": model, "example_id": key, "judge": labels.get(pair.pair_id)}
            for model, key, pair in found]


def _like(named: Mapping[str, Run], shared: Sequence[str], refused: list[str]) -> Scores:
    embedders = {name: str(run.data.config.embedder) for name, run in named.items()}
    if len(set(embedders.values())) > 1:
        refused.append(f"Similarities: other embedders ({_said(embedders)}).")
        return pd.DataFrame()
    same = [key for key in shared if len({run.rows[key].oracle for run in named.values()}) == 1]
    return pd.DataFrame([
        {"run": name, "model": model, "example_id": key, "measure": LIKE, "score": score}
        for name, run in named.items() for key in same
        for model, score in run.rows[key].similarity_scores.items()])


def _scored_in_all(scores: Scores, refused: list[str]) -> Scores:
    """Of each measure and model the prompts for which every run that has it has a score."""
    kept = []
    for (measure, model), part in scores.groupby(["measure", "model"], sort=False):
        runs = part.groupby("example_id")["run"].transform("nunique")
        kept.append(part[runs == part["run"].nunique()])
        prompts, left = (found["example_id"].nunique() for found in (part, kept[-1]))
        if left < prompts:
            refused.append(f"{prompts - left} of {prompts} prompts for {model}, {measure}: one of "
                           "the runs has no score there.")
    return pd.concat(kept) if kept else scores


def _means(scores: Scores) -> pd.DataFrame:
    if scores.empty:
        return pd.DataFrame()
    wide = scores.astype({"score": float}).pivot_table(
        index=["measure", "model"], columns="run", values="score", sort=False)
    return wide.rename_axis(columns=None).reset_index()


def _pairs(scores: Scores, names: Sequence[str], how: Resampling,
           refused: list[str]) -> pd.DataFrame:
    first, *others = names
    rows = []
    for (measure, model), part in scores.groupby(["measure", "model"], sort=False):
        wide = part.pivot(index="example_id", columns="run", values="score").astype(float)
        if first not in wide:
            refused.append(f"Paired differences of {model}, {measure}: {first}, the first run, has "
                           "no score of it.")
            continue
        for other in [name for name in others if name in wide]:
            values = wide[other] - wide[first]
            if not values.any():
                continue        # the same model in both runs
            low, high, _ = mean_interval(values.to_numpy(), how)
            rows.append({"run": other, "model": model, "measure": measure,
                         "difference": values.mean(), "ci_low": low, "ci_high": high,
                         "prompts": len(values)})
    return pd.DataFrame(rows)
