"""What a study would take, and what it could show, before anything runs."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED, trainings, wanted
from persuasion_lib.core.pipeline import STAGES, path_of, read_file
from persuasion_lib.core.progress import duration
from persuasion_lib.core.runs import so_far
from persuasion_lib.judging.plan import plan
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import pair_questions
from persuasion_lib.stats.power import crossed_power
from persuasion_lib.study.design import Cell, Study
from persuasion_lib.study.file import COUNTS, level_name
from persuasion_lib.study.run import first_to_run, state_of
from persuasion_lib.study.shared import shared_to_run

# Of a difference of two arms' win rates, as simulations of the method took them; seeds' from, to.
SD_SEED, SD_PROMPT, SD_REST = (0.02, 0.05), 0.08, 0.34
SECONDS_EACH = 72       # of a person for one comparison
SAMPLE = 50             # pairs that a call is priced by


def plan_of(study: Study, cells: Iterable[Cell]) -> dict[str, str]:
    """What running these cells of a study would take, line by line; done ones take nothing."""
    cells = list(cells)
    own = [cell for cell in cells if state_of(study, cell)[0] != "done"]
    anchor = study.anchor_cell
    pending = [anchor, *own] if anchor and first_to_run(anchor) else own
    configs = {cell: cell.config() for cell in pending}
    models = {(cell, name): _training(config, name) for cell, config in configs.items()
              for name in trainings(cell.arms)}
    prompts = _prompts(study.config)
    lines = {
        "question": study.question,
        **_first(study),
        "cells": f"{len(study.levels)} levels of {study.axis} × {len(study.seeds)} seeds = "
                 f"{len(study.cells)}, {len(own)} of {len(cells)} still to run",
        "levels": f"{', '.join(map(level_name, study.levels))}; primary "
                  f"{level_name(study.primary)}",
        "trainings": f"{len(set(models.values()))}, each done once: what cells share is copied",
        "time": _time(study, pending), "disk": _disk(study, len(pending)),
        **_calls(study, models, prompts), "people": _people(study),
        "could show": _could_show(len(study.seeds), prompts)}
    return lines | ({"note": " ".join(study.notes)} if study.notes else {})


def _first(study: Study) -> dict[str, str]:
    """What all cells share and is not as these settings and this code would make it."""
    found = shared_to_run(study)
    if not found:
        return {}
    took = so_far(study.config)
    parts = [f"{STAGES[name].notebook} ({_last_time(took.get(name))})" for name in found]
    name, (_, reasons) = next(iter(found.items()))
    return {"first": f"once for all cells: {', '.join(parts)}. {STAGES[name].notebook}: "
                     f"{reasons[0]}"}


def _last_time(stage: Mapping[str, Any] | None) -> str:
    if stage is None:
        return "time and dollars not known before"
    dollars = "" if stage["usd"] is None else f" and {stage['usd']:.2f} dollars"
    return f"{stage['minutes']} min{dollars} last time"


def _training(config: Config, name: str) -> Any:
    """What makes a training: two cells with the same have the same model."""
    member = FAMILY[name]
    own = [key for key, split in COUNTS.items() if split == member.labels]
    own += ["training.seed", "training.label_noise", "training.best_from",
            "training.evals_per_run", "generation.max_new_tokens", "seed", "model.base"]
    sections = ("dpo.", "lora.", f"{member.settings}.")
    values = {key: value for key, value in config.flat().items()
              if key in own or key.startswith(sections)}
    if config.peek("dpo.reference") == "start" and member.starts_as == "sft":
        values["dpo.reference"] = "sft"
    below = [_training(config, parent) for parent in member.parents if parent in PREFERENCE_TRAINED]
    made = path_of(config, f"{member.labels}_train")    # cells may have labels of their own
    return name, str(made), str(sorted(values.items())), *below


def _prompts(config: Config) -> int:
    path = path_of(config, "test")
    there = config.data.test_examples
    if path.exists():       # it holds prompts for the judge alone as well
        there = min(there, sum(1 for line in path.open("rb") if line.strip()))
    return min(there, config.evaluation.max_examples or there)


def _time(study: Study, pending: list[Cell]) -> str:
    if not pending:
        return "none"
    done = [cell.config() for cell in study.cells if cell not in pending]
    for configs, basis in ((done, "as the cells that have ended took"),
                           ([study.config], "as 04 and 05 of this project took last time")):
        minutes = [found["train_dpo"]["minutes"] + found["evaluate"]["minutes"]
                   for found in map(so_far, configs) if {"train_dpo", "evaluate"} <= found.keys()]
        if minutes:
            return (f"about {duration(60 * fmean(minutes) * len(pending))} in one process "
                    f"({fmean(minutes):.1f} min a cell, {basis})")
    return "not known before one cell has run"


def _disk(study: Study, cells: int) -> str:
    folders = [path_of(study.config, name) for name in PREFERENCE_TRAINED]
    found = [_size(folder) for folder in folders if folder.exists()]
    each = len(trainings(study.arms))
    if not found:
        return f"{each} adapters a cell"
    return f"about {cells * each * fmean(found) / 2**20:,.0f} MiB of adapters"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _calls(study: Study, models: Mapping[tuple[Cell, str], Any], prompts: int) -> dict[str, str]:
    """Calls of the judge at most: the same text is never asked about twice."""
    config = study.config
    arms = {made for (cell, arm), made in models.items()
            if arm in cell.arms and cell in study.cells}
    cells = {cell for cell, _ in models}
    shown = len(wanted(config.evaluation.models, study.arms))
    orders = config.evaluation.orders
    compared = len(arms) * len(study.anchors) * prompts * 2
    ranked = len(cells) * prompts * orders
    searched = len(arms) * prompts
    unit, judge = _dollars(config)
    # A ranking shows more replies than a comparison, a search for tactics one.
    worth = compared + ranked * shown / 2 + searched / 2
    usd = unit if isinstance(unit, str) else f"{unit[0] * worth:,.2f} to {unit[1] * worth:,.2f}"
    return {"judge": f"{judge}: {compared:,} comparisons with {' and '.join(study.anchors)}, both "
                     f"orders; for the cells' own reports {ranked:,} rankings and {searched:,} "
                     "replies searched for tactics",
            "dollars": usd}


def _dollars(config: Config) -> tuple[tuple[float, float] | str, str]:
    """Dollars of one comparison, from and to, by pairs that are labelled; and who judges."""
    try:
        judge = make_judge(config, "evaluate")
    except ConfigError as error:
        return f"not known: {error}", config.evaluation.judge
    name = next((key for key in ("human_pool_labeled", "ai_pool_labeled")
                 if path_of(config, key).exists()), None)
    if name is None:
        return "not known before there are labelled pairs", judge.name
    pairs = [row.pair for row in read_file(config, name)[:SAMPLE]]
    asked = pair_questions(pairs, judge, both_orders=True, seed=0)
    found = plan(asked, judge, log=config.folder("results") / "nothing-asked-yet")
    low, high = (usd / max(1, found.calls) for usd in found.usd)
    return (low, high), judge.name


def _people(study: Study) -> str:
    arms = len(study.arms) - len(study.unlabelled)
    compared = study.compared_each * len(study.seeds) * arms
    if not compared:
        return "nobody compares"
    source = study.config.human_eval.source
    who = {"simulated": "by a stand-in", "none": "but human_eval.source is none"}.get(
        source, f"by people, about {compared * SECONDS_EACH / 3600:.1f} h")
    return f"{compared} comparisons at {level_name(study.primary)}, {who}"


def _could_show(seeds: int, prompts: int) -> str:
    low, high = (crossed_power(seeds, prompts, sd_seed=sd, sd_prompt=SD_PROMPT, sd_rest=SD_REST)
                 for sd in SD_SEED)
    if math.isnan(low):
        return "one seed: a claim about these checkpoints, with no interval over trainings"
    return (f"differences of two win rates from {low:.2f} to {high:.2f} on (80 % power, {seeds} "
            f"seeds, {prompts} prompts, if seeds differ by an sd of {SD_SEED[0]} to {SD_SEED[1]})")
